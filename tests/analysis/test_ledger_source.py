from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest

import analysis
from analysis.sources.collection import Collection
from analysis.sources.ledger import Ledger
from analysis.sweep.footnotes import mixes
from lightning_xvol.errors import UserError


def test_the_frame_has_a_row_per_cell_and_metric(make_ledger) -> None:
    sweep, frame = Collection([make_ledger().out]).load("kernel_size")
    assert sweep.column_axis == "kernel_size"
    assert len(frame) == 2 * 45  # a row per cell and metric
    assert set(frame["metric"]) == {"top1", "val_top1"}
    kinds = frame.dtypes.astype(str).to_dict()
    assert (kinds["kernel_size"], kinds["seed"], kinds["params"], kinds["last"]) == (
        "int64",
        "int64",
        "Int64",
        "float64",
    )
    assert not frame.duplicated(["cell_id", "metric"]).any()


@pytest.mark.parametrize("content", ["", '{"schema": 1, "metr', "[]", '{"schema": 1}'])
def test_a_torn_result_is_missing(make_ledger, content: str) -> None:
    runs = make_ledger()
    (runs.folder("xvolution", 3, 1) / "result.json").write_text(content)
    _, frame = Collection([runs.out]).load("kernel_size")
    found = frame[frame["cell_id"] == runs.cell("xvolution", 3, 1)["cell_id"]]
    assert found["state"].tolist() == ["missing"]
    assert found[["last", "params", "commit"]].isna().all(axis=None)


def test_failed_and_diverged_runs_keep_their_state(make_ledger) -> None:
    runs = make_ledger()
    runs.lose("xvolution", 1, 0)
    (runs.folder("xvolution", 1, 0) / "failure.json").write_text('{"error": "out of memory", "step": 7, "attempt": 2}')
    runs.diverge("xvolution", 1, 1)
    nan = {"top1": {"last": float("nan"), "best": 30.0, "best_epoch": 0}}
    runs.write(runs.cell("xvolution", 1, 2), 0.0, metrics=nan)
    _, frame = Collection([runs.out]).load("kernel_size")
    found = frame[(frame["operator"] == "xvolution") & (frame["kernel_size"] == 1)]
    assert found["state"].tolist() == ["failed", "diverged", "diverged"]
    assert found["error"].tolist()[0] == "out of memory"


@pytest.mark.parametrize("status", ["diverged", "finished"])
def test_a_value_beyond_32_bits_has_diverged(make_ledger, status: str) -> None:
    """A variance is computed in float64. Two stacks that diverged ended with -1.7e49 and -1e59."""
    runs = make_ledger()
    huge = {"last": -1.7e49, "best": -1.7e49, "best_epoch": 1}
    metrics = {"top1": {"last": 98.0, "best": 98.0, "best_epoch": 1}, "explained_variance": huge}
    runs.write(runs.cell("xvolution", 1, 2), 98.0, status=status, metrics=metrics)
    sources = Collection([runs.out])
    _, frame = sources.load("kernel_size")
    assert frame[frame["metric"] == "explained_variance"]["state"].tolist() == ["diverged"]
    assert not sources.losses and not (frame["state"] == "failed").any()


@pytest.mark.parametrize(
    ("data", "contents", "expected"),
    [
        ({"name": "match", "limit": None, "options": {"test_size": 40}}, None, 40),
        ({"name": "match", "limit": 30, "options": {"test_size": 40}}, None, 30),
        ({"name": "match", "limit": -1, "options": {"test_size": 40}}, None, 40),
        ({"name": "match", "limit": 30, "options": {"test_size": -1}}, None, None),
        ({"name": "match", "limit": None, "options": {"test_size": 0}}, None, None),
        ({"name": "cifar10", "limit": None, "options": {}}, {"digest": "a", "test": 0, "validation": 50}, 50),
    ],
)
def test_only_a_positive_number_of_images_counts(make_ledger, data, contents, expected) -> None:
    runs = make_ledger({"convolution": {1: [100.0, 100.0]}, "xvolution": {1: [100.0, 0.0]}})
    for cell in runs.cells:
        config = {"train": {"epochs": 3, "steps": None}, "data": data}
        runs.write(cell, 100.0, config=config, **({} if contents is None else {"data": contents}))
    frame = Collection([runs.out]).load("kernel_size")[1]
    found = set(frame.loc[frame["metric"] == "top1", "images"].astype(object).where(lambda value: value.notna(), None))
    assert found == {expected}
    analysis.render_table(analysis.load_sweep(runs.out, "kernel_size"))


def test_a_folder_with_a_line_break_in_its_name_is_refused(make_ledger) -> None:
    runs = make_ledger()
    (runs.out / "kernel_size").rename(runs.out / "kernel\nsize")
    with pytest.raises(UserError, match=r"unfit name: sweep='kernel\\nsize' \(expected a text without line breaks"):
        Collection([runs.out])


def test_axes_of_other_types_become_text(make_ledger) -> None:
    scores = {"convolution": {1: [90.0, 91.0], 3: [80.0, 81.0], 5: [70.0, 71.0]}}
    values = {1: [3, 4], 3: None, 5: True}
    runs = make_ledger(scores, axes=["stages"], axis_labels={}, figure=None)
    for cell in runs.cells:
        cell["axes"] = {"stages": values[cell["axes"]["kernel_size"]]}
    runs.write_sweep()
    sweep, frame = Collection([runs.out]).load("kernel_size")
    assert frame["stages"].drop_duplicates().tolist() == ["3+4", "none", "yes"]  # in the sweep's order
    assert sweep.axis_label("stages") == "stages"


def test_a_folder_without_runs_is_refused(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no runs at"):
            Collection([folder]).sweeps()


def test_unknown_sweep_names_the_nearest(make_ledger) -> None:
    with pytest.raises(UserError, match=r"no sweep 'kernel_sise'.*did you mean 'kernel_size'"):
        Collection([make_ledger().out]).load("kernel_sise")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{torn", "cannot read"),
        ('{"schema": 2}', "schema 2"),
        (
            '{"schema": 1, "cells": [{}], "axes": ["kernel_size"]}',
            r"missing or unfit values: sweep \(missing\), title \(missing\)",
        ),
    ],
)
def test_a_broken_sweep_file_is_refused(make_ledger, content: str, message: str) -> None:
    runs = make_ledger()
    (runs.out / "kernel_size" / "cells.json").write_text(content)
    with pytest.raises(UserError, match=message):
        Collection([runs.out]).load("kernel_size")


@pytest.mark.parametrize("key", ["cells", "axes", "controls", "below", "paper", "figure", "smoke"])
@pytest.mark.parametrize("value", [3, "text"])
def test_a_sweep_file_with_unfit_values_is_refused(make_ledger, key: str, value: object) -> None:
    runs = make_ledger()
    content = runs.sweep | {key: value}
    (runs.out / "kernel_size" / "cells.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"cells\.json"):
        Collection([runs.out]).load("kernel_size")


def only_failure(source: Path, cell: dict) -> str:
    """The error of `cell`, which must be the only one that failed."""
    _, frame = Collection([source]).load("kernel_size")
    failed = frame[frame["state"] == "failed"]
    assert failed["cell_id"].tolist() == [cell["cell_id"]]
    assert frame["cell_id"].nunique() == 45
    return failed["error"].iloc[0]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", [1], "config=[1] (expected named values)"),
        ("config", {"train": "x"}, "config.train='x' (expected named values)"),
        ("environment", "text", "environment='text' (expected named values)"),
        ("environment", {"torch": 2}, "environment.torch=2 (expected a text)"),
        ("metrics", {"top1": 5}, "metrics.top1=5 (expected named values)"),
        ("metrics", {"top1": {"last": 10**400, "best": 1.0}}, "expected a whole number of 64 bits"),
        (
            "metrics",
            {"top1": {"last": 101.0, "best": 99.0}},
            "metrics.top1.last=101.0 (expected a number from 0 to 100",
        ),
        ("params", "many", "params='many' (expected a whole number from 0 to 2^53)"),
        ("params", 1.5, "params=1.5 (expected a whole number"),
        ("macs", 10**30, "expected a whole number of 64 bits"),
        ("wall_seconds", "long", "wall_seconds='long' (expected a number from 0"),
        ("wall_seconds", float("inf"), "wall_seconds=inf (expected a number from 0"),
        ("status", "well", "status='well' (expected 'finished' or 'diverged')"),
        ("schema", 2, "has schema 2, and this version reads 1; read it with the version that wrote it"),
    ],
)
def test_a_record_with_unfit_values_costs_its_run(make_ledger, key: str, value: object, message: str) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 3, 1)
    runs.write(cell, 98.0, **{key: value})
    error = only_failure(runs.out, cell)
    assert message in error and "result.json' has" in error


def test_a_deep_record_costs_its_run(make_ledger) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 3, 1)
    runs.write(cell, 98.0, config=functools.reduce(lambda inner, _: {"a": inner}, range(900), 1))
    assert "is nested more than 32 levels deep" in only_failure(runs.out, cell)


def test_a_damaged_curve_is_read_up_to_the_damage(make_ledger) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 3, 1)
    path = runs.folder("xvolution", 3, 1) / "metrics.csv"
    path.write_bytes(b'step,epoch,name,value\n1,1,top1,50\n\xff\xfe\n2,2,top1,60\n"' + b"x" * 200_000)
    assert Ledger(runs.out).curve(cell["cell_id"], "top1") == {1: (1, 50.0), 2: (2, 60.0)}
    path.write_text("no,columns,of,ours\n1,2,3,4\n")
    assert Ledger(runs.out).curve(cell["cell_id"], "top1") == {}


def test_a_sweep_without_cells_or_with_a_reserved_axis_is_refused(make_ledger) -> None:
    runs = make_ledger()
    runs.sweep["axes"] = ["seed"]
    for cell in runs.cells:
        cell["axes"]["seed"] = 0
    runs.write_sweep()
    with pytest.raises(UserError, match="axis 'seed'"):
        Collection([runs.out]).load("kernel_size")
    runs.sweep["cells"] = []
    runs.write_sweep()
    with pytest.raises(UserError, match="no cells"):
        Collection([runs.out]).load("kernel_size")


def test_runs_are_grouped_by_fingerprint(make_ledger) -> None:
    runs = make_ledger()
    runs.cell("xvolution", 3, 1)["group_id"] = "another"
    runs.write_sweep()
    with pytest.raises(
        UserError, match=r"cells.json' gives row 'xvolution' .* two configurations; give each a row label"
    ):
        Collection([runs.out]).load("kernel_size")


def copied(runs, out: Path, seed: int, group: str | None = None) -> Path:
    """A folder with the same sweep at another seed, whose X-volution at 3 has another group."""
    cells = [cell | {"seed": seed, "cell_id": f"{cell['cell_id']}-{seed}"} for cell in runs.cells if not cell["seed"]]
    for cell in cells:
        if group is not None and (cell["operator"], cell["axes"]["kernel_size"]) == ("xvolution", 3):
            cell["group_id"] = group
    (out / "kernel_size").mkdir(parents=True)
    (out / "kernel_size" / "cells.json").write_text(json.dumps(runs.sweep | {"cells": cells}))
    return out


def test_two_sources_with_different_configurations_are_both_named(make_ledger, tmp_path: Path) -> None:
    runs = make_ledger()
    same, other = copied(runs, tmp_path / "same", 3), copied(runs, tmp_path / "other", 4, "another")
    assert len(Collection([runs.out, same]).load("kernel_size")[1]["cell_id"].unique()) == 45 + 15
    with pytest.raises(UserError) as refused:
        Collection([same, runs.out, other]).load("kernel_size")
    first, second = (repr(str(source / "kernel_size" / "cells.json")) for source in (same, other))
    group = runs.cell("xvolution", 3, 0)["group_id"]
    assert str(refused.value) == (
        f"the sweep 'kernel_size' of {first} and that of {second} differ in the configuration of row 'xvolution' at "
        f'{{"kernel_size": 3}}: groups {group} and another; render them one by one'
    )
    assert Collection([other]).load("kernel_size")[0].name == "kernel_size"


def test_a_file_with_both_configurations_is_named_alone(make_ledger, tmp_path: Path) -> None:
    runs = make_ledger()
    other = copied(runs, tmp_path / "other", 4, "another")
    runs.cell("xvolution", 3, 1)["group_id"] = "another"
    runs.write_sweep()
    for sources in ([runs.out, other], [other, runs.out]):
        with pytest.raises(UserError, match=rf"^'{runs.out}/kernel_size/cells.json' gives row 'xvolution'"):
            Collection(sources).load("kernel_size")


def test_a_result_of_another_cell_costs_its_run(make_ledger) -> None:
    runs = make_ledger()
    path = runs.folder("xvolution", 3, 1) / "result.json"
    path.write_text((runs.folder("xvolution", 3, 2) / "result.json").read_text())
    assert "has cell_id" in only_failure(runs.out, runs.cell("xvolution", 3, 1))


def test_mixed_budgets_are_refused(make_ledger) -> None:
    runs = make_ledger()
    runs.write(runs.cell("xvolution", 3, 1), 98.0, config={"train": {"epochs": 3, "steps": 20}})
    with pytest.raises(UserError, match=r"mixes budgets: 3 epochs .* and 20 steps"):
        Collection([runs.out]).load("kernel_size")


def test_a_table_of_two_versions_of_timm_is_mixed(make_ledger) -> None:
    runs = make_ledger()
    for seed, version in ((0, "1.0.31"), (1, "1.0.32")):
        environment = {"torch": "2.15.0", "device": "cpu", "timm": version}
        runs.write(runs.cell("xvolution", 3, seed), 98.0, environment=environment)
    _, frame = Collection([runs.out]).load("kernel_size")
    named = "2.15.0, 2.15.0 with timm 1.0.31, 2.15.0 with timm 1.0.32"
    assert f"mixed versions of torch: {named}" in mixes(frame.drop_duplicates("cell_id"))


def test_a_run_without_the_metric_costs_itself(make_ledger) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 3, 1)
    runs.write(cell, 98.0, metrics={"top5": {"last": 99.0, "best": 99.0, "best_epoch": 1}})
    assert only_failure(runs.out, cell) == "it has no metric 'top1'; it has: top5"


def test_two_rows_with_one_label_show_their_names(make_ledger) -> None:
    runs = make_ledger()
    for cell in runs.cells:
        cell["label"] = "X"
    runs.write_sweep()
    sweep, frame = Collection([runs.out]).load("kernel_size")
    assert sweep.labels["xvolution"] == "X (xvolution)"
    assert set(frame["label"]) == set(sweep.labels.values())


def test_a_run_that_is_listed_twice_is_refused(make_ledger) -> None:
    runs = make_ledger()
    runs.sweep["cells"] = [*runs.cells, json.loads(json.dumps(runs.cells[0]))]
    runs.write_sweep()
    with pytest.raises(UserError, match="twice with seed 0"):
        Collection([runs.out]).load("kernel_size")


def test_a_curve_of_a_torn_file_is_read(make_ledger) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 3, 1)["cell_id"]
    assert Collection([runs.out]).curve(cell, "val_top1") == {}
    lines = [
        "step,epoch,name,value",
        "5,1,val_top1,40.5",
        "10,2,val",
        "15,3,val_top1,",
        "20,4,val_top1,60.0",
        "20,4,lr,0.1",
    ]
    (runs.folder("xvolution", 3, 1) / "metrics.csv").write_text("\n".join(lines))
    assert Collection([runs.out]).curve(cell, "val_top1") == {5: (1, 40.5), 20: (4, 60.0)}


def test_a_row_that_two_versions_call_by_two_labels_is_one_row(make_ledger, tmp_path: Path) -> None:
    """The first source names it, and its runs count once."""
    old = make_ledger()
    new = json.loads((old.out / "kernel_size" / "cells.json").read_text())
    for cell in new["cells"]:
        cell["label"] = cell["label"].replace("X-volution", "X-volution (no dilated 5x5)")
    shutil.copytree(old.out, tmp_path / "new")
    (tmp_path / "new" / "kernel_size" / "cells.json").write_text(json.dumps(new))
    for first, second, label in (
        (old.out, tmp_path / "new", "X-volution"), (tmp_path / "new", old.out, "X-volution (no dilated 5x5)"),
    ):  # fmt: skip
        sweep, frame = Collection([first, second]).load("kernel_size")
        assert sweep.labels["xvolution"] == label and set(frame["label"]) == set(sweep.labels.values())
        assert len(frame) == 2 * 45
