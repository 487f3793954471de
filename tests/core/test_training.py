"""Whole runs: golden numbers, the content of the record, precisions, reports of progress."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from core_tools import Death, Set, result_of, tiny

from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import from_dict, set_value, to_dict
from lightning_xvol.ledger.record import RESULT_KEYS, cell_id, group_id
from lightning_xvol.training.environment import commit
from lightning_xvol.training.hashing import weights_sha256

# match_small learns its first 32 images by heart in 40 steps of 16. These are the losses of steps 1 and 2 and the mean
# over steps 36 to 40, as this test prints them when it fails, from an AMD EPYC with torch 2.15.0, one thread and seed
# 0. They change only if an initialisation, the order of images or the schedule changes on purpose. Then the results of
# every recipe change too, and the pages in docs/reproduction with them.
GOLDEN = {"convolution": (1.4801, 1.55392, 0.03104), "xvolution": (1.46322, 1.57949, 0.03194)}
# Float64 and another memory format gave differences of 3e-7, 2e-6 and 0.01: rounding flips a few ReLUs, and the steps
# after that amplify it. Other seeds differ by more than 0.02 in the first two.
TOLERANCE = (2e-4, 2e-3, 0.06)

BY_HEART = {
    "train__steps": 40, "data__batch_size": 16, "data__train_size": 32, "data__limit": None, "optim__lr": 0.1,
    "train__checkpoint_every": 40, "backbone__blocks": (2, 1, 1, 1), "backbone__widths": (16, 16, 32, 32),
    "backbone__stem_width": 16,
}  # fmt: skip


def rows_of(folder: Path) -> list[dict]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("operator", GOLDEN)
def test_match_small_learns_as_it_did(operator, run, tmp_path):
    folder = tmp_path / "cell"
    run(tiny(operator, **BY_HEART), folder, faults=[Set("lightning_xvol.training.run:LOG_EVERY_STEPS", 1)])
    losses = [float(row["value"]) for row in rows_of(folder) if row["name"] == "train_loss"]
    assert len(losses) == 40
    found = (losses[0], losses[1], sum(losses[-5:]) / 5)
    print({operator: tuple(round(loss, 5) for loss in found)})
    for value, expected, tolerance in zip(found, GOLDEN[operator], TOLERANCE, strict=True):
        assert value == pytest.approx(expected, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel_size", "low", "high"), [(1, 20, 35), (9, 90, 100)])
def test_match_small_separates_convolutions_by_their_reach(kernel_size, low, high, run, tmp_path):
    """This is the purpose of the embedded recipe. Five seeds gave 24 to 25 and 98 to 100 percent."""
    folder = tmp_path / "cell"
    run(RECIPES["match_small"].config(kernel_size=kernel_size), folder)
    metrics = result_of(folder)["metrics"]
    assert low <= metrics["top1"]["last"] <= high


def test_a_record_holds_the_configuration_and_the_results(run, tmp_path):
    config, folder = tiny("xvolution", recipe="digits_small", seed=3), tmp_path / "cell"
    run(config, folder)
    result = result_of(folder)
    assert set(result) == {*RESULT_KEYS, "optimisation_id", "cpu_seconds", "metrics_bytes", "data"}
    assert (result["cell_id"], result["group_id"], result["seed"]) == (cell_id(config), group_id(config), 3)
    assert (
        from_dict(result["config"])
        == resolve(config)
        == from_dict(yaml.safe_load((folder / "config.yaml").read_text()))
    )
    # The kept checkpoint holds the weights whose hash is in the record.
    [checkpoint] = (folder / "checkpoints").iterdir()
    content = torch.load(checkpoint, weights_only=True)
    from lightning_xvol.training.run import build_network

    network = build_network(resolve(config), 10, 1)
    assert weights_sha256(network) != result["weights_sha256"]
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in content["state_dict"].items() if "network." in name}
    )
    assert weights_sha256(network) == result["weights_sha256"]
    assert result["params"] == sum(parameter.numel() for parameter in network.parameters())
    # The last and the best value of each metric are those of its rows.
    assert set(result["metrics"]) == {"loss", "top1", "top5", "top1_mean_ablated", "top1_q_shuffled"}
    for name, metric in result["metrics"].items():
        values = [(round(float(row["value"]), 4), int(row["epoch"])) for row in rows_of(folder) if row["name"] == name]
        best = (min if name == "loss" else max)(value for value, _ in values)
        first = next(epoch for value, epoch in values if value == best)
        assert metric == {"last": values[-1][0], "best": best, "best_epoch": first}
    assert result["environment"]["torch"] == torch.__version__.partition("+")[0]
    for cost in ("wall_seconds", "cpu_seconds"):
        assert sum(segment[cost] for segment in result["segments"]) == pytest.approx(result[cost], abs=0.0015)
    assert 0 < result["cpu_seconds"] < result["wall_seconds"] * (os.cpu_count() or 1) + 1


def test_the_test_split_is_evaluated_with_the_last_and_the_best_validation_weights(run, tmp_path):
    """`best` on the test split belongs to the weights of the best validation epoch; it is no maximum over tests."""
    from lightning_xvol.data.module import ImageDataModule
    from lightning_xvol.modules.classification import ClassificationModule
    from lightning_xvol.training.run import build_network

    for seed in range(8):
        config, folder = (
            tiny(seed=seed, data__test_size=100, data__limit=100, data__train_size=40),
            tmp_path / str(seed),
        )
        run(config, folder)
        metrics = result_of(folder)["metrics"]
        best = metrics["val_top1"]["best_epoch"]
        if best < 5:
            break
    assert best < 5, "the best weights of all seeds are the last; try others"
    assert [row["name"] for row in rows_of(folder)].count("top1") == 1, "the test split is used once"
    assert {metrics[name]["best_epoch"] for name in ("top1", "loss", "val_top1")} == {best}
    # The same run killed at the end of its best epoch leaves those weights in its newest checkpoint.
    again, death = (
        tmp_path / "again",
        Death("lightning_xvol.training.callbacks:Checkpointer.on_train_epoch_end", best, after=True),
    )
    run(set_value(config, "train.checkpoint_every", 5), again, death=death, expect=77)
    content = torch.load(again / "checkpoints" / f"step={5 * best:08d}.ckpt", weights_only=True)
    data = ImageDataModule(config)
    network = build_network(config, data.num_classes, 1)
    module = ClassificationModule(network, config, num_classes=data.num_classes, total_steps=1)
    module.load_state_dict(content["state_dict"])
    network.eval()
    hits = sum((network(images).argmax(1) == labels).sum().item() for images, labels, _ in data.test_dataloader())
    assert metrics["top1"]["best"] == pytest.approx(hits, abs=1e-3)


def test_a_record_holds_the_commit_of_the_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if head.returncode:
        pytest.skip("needs a checkout")
    assert (commit() or "").removesuffix("-dirty") == head.stdout.strip()


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed", "16-mixed"])
def test_every_precision_trains_and_evaluates(precision, run, tmp_path):
    for seed in range(6):
        folder = tmp_path / str(seed)
        run(tiny(train__precision=precision, train__steps=10, seed=seed), folder)
        result = result_of(folder)
        assert result["status"] == "finished" and result["metrics"]["loss"]["last"] < 3
        if result["metrics"]["top1"]["best_epoch"] == 1:  # then the best weights are loaded and evaluated too
            break
    else:
        pytest.fail("the best weights of all seeds are the last; try others")


def test_a_run_reports_its_progress(tmp_path):
    from lightning_xvol.training.run import RunContext, train
    from lightning_xvol.training.tracking import Tracking

    heard = []
    config = tiny(train__steps=6, train__accumulate=2)
    context = RunContext(tracking=Tracking("disabled"), report=heard.append)
    record = train(config, tmp_path, context)
    assert heard[0][:5] == (0, 6, None, None, "top1"), "nothing is known at the start"
    assert [reached.step for reached in heard] == sorted(reached.step for reached in heard)
    last = heard[-1]
    assert (last.step, last.total, last.metric_name, last.seconds_left) == (6, 6, "top1", None)
    assert last.loss is not None and 0 < last.loss < 10
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    validated = [float(row.split(",")[3]) for row in rows if ",val_top1," in row]
    assert last.metric in validated and record["status"] == "finished"


def test_configs_of_one_group_differ_in_their_weights_and_their_order():
    from lightning_xvol.training.run import build_network

    one, other = (resolve(set_value(tiny("xvolution"), "seed", seed)) for seed in (0, 1))
    assert weights_sha256(build_network(one, 4, 1)) == weights_sha256(build_network(one, 4, 1))
    assert weights_sha256(build_network(one, 4, 1)) != weights_sha256(build_network(other, 4, 1))
    assert to_dict(one) != to_dict(other)
