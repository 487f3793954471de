"""Per-class accuracy and confusion matrices: right numbers, readable figures, and one sentence for unfit files."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import confusion_matrix

from analysis import load_sweep
from analysis.__main__ import main
from analysis.figures import kinds
from analysis.figures.chart import Chart
from analysis.output.confusion import render_confusion
from analysis.sources.predictions import read_predictions
from analysis.sweep import confusion
from lightning_xvol.errors import UserError

IMAGES = 1000
NAMES = ("left", "right", "above", "below")
SCORES = {"convolution": {3: [70.0, 70.4, 71.2]}, "xvolution": {3: [97.9, 98.5, 99.1]}}
FORMATS = (".csv", ".md", ".pdf", ".png", ".svg", ".tex")


def arrays(right: int, seed: int, classes: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Predictions of which `right` are right; the labels are the same for every seed."""
    label = np.arange(IMAGES) % len(classes)
    rng = np.random.default_rng(seed)
    wrong = (label + rng.integers(1, len(classes), IMAGES)) % len(classes)
    predicted = np.where(rng.permutation(IMAGES) < right, label, wrong)
    return {
        "index": np.arange(IMAGES, dtype="<i4"), "label": label.astype("<i4"), "predicted": predicted.astype("<i4"),
        "score": rng.uniform(1 / len(classes), 1, IMAGES).astype("<f4"), "classes": np.array(classes),
    }  # fmt: skip


def predict(runs: Any, classes: tuple[str, ...] = NAMES) -> dict[tuple[str, int], dict[str, Any]]:
    """Give every cell predictions that fit its record."""
    found = {}
    for cell in runs.cells:
        score = SCORES[cell["operator"]][3][cell["seed"]]
        found[cell["operator"], cell["seed"]] = made = arrays(round(10 * score), cell["seed"], classes)
        np.savez(runs.out / "cells" / cell["cell_id"] / "predictions.npz", **made)
    return found


@pytest.fixture
def runs(make_ledger: Callable[..., Any]) -> Any:
    return make_ledger(SCORES)


def test_the_matrix_and_the_accuracies_are_those_of_scikit_learn(runs: Any) -> None:
    found = predict(runs)
    results = load_sweep(runs.out, "kernel_size")
    for group in confusion.confusions(results, results.summary, []):
        operator = group.group["operator"]
        own = [found[operator, seed] for seed in range(3)]
        expected = np.mean([confusion_matrix(one["label"], one["predicted"]) for one in own], axis=0)
        assert np.array_equal(group.mean, expected)
        assert group.mean.sum() == IMAGES
        assert group.accuracy.mean == pytest.approx(group.group["mean"], abs=1e-9)
        by_class = [estimate.mean for estimate in group.by_class()]
        assert by_class == pytest.approx((100 * expected.diagonal() / expected.sum(axis=1)).tolist())


def test_the_command_writes_tables_and_figures_of_every_row(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    predict(runs)
    assert main(["confusion", "--source", str(runs.out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    folder = runs.out / "kernel_size"
    names = {path.name for path in folder.iterdir()} - {"cells.json"}
    stems = [f"confusion-{operator}-3" for operator in SCORES]
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in FORMATS} | {
        f"classes{suffix}" for suffix in (".csv", ".md", ".tex")
    }
    assert all(str(folder / f"{stem}.md") in printed.out for stem in (*stems, "classes"))
    text = (folder / "confusion-xvolution-3.md").read_text()
    assert (
        "X-volution, kernel size K = 3" in text and "mean over 3 seeds" in text and "test split; seeds 0, 1, 2" in text
    )
    assert "Correct: 98.5 ± 0.6 % of 1000 images" in text
    assert all(f"| {name} " in text for name in NAMES)
    table = pd.read_csv(folder / "confusion-xvolution-3.csv")
    assert table["images"].sum() == pytest.approx(IMAGES)
    diagonal = table[table["label"] == table["predicted"]]
    assert 100 * diagonal["images"].sum() / IMAGES == pytest.approx(98.5)
    assert table.groupby("label")["share"].sum().tolist() == pytest.approx([100] * 4)
    classes = pd.read_csv(folder / "classes.csv")
    assert classes.groupby("operator")["images"].sum().tolist() == [IMAGES] * 2
    weighted = (classes["mean"] * classes["images"]).groupby(classes["operator"]).sum() / IMAGES
    assert weighted["xvolution"] == pytest.approx(98.5) and (classes["n"] == 3).all()
    assert r"\toprule" in (folder / "classes.tex").read_text()


def test_one_seed_has_whole_numbers_and_no_spread(make_ledger: Callable[..., Any]) -> None:
    runs = make_ledger({"xvolution": {3: [97.9]}})
    predict(runs)
    text = render_confusion(runs.out, "kernel_size", runs.out).markdown
    assert ", one seed" in text and "±" not in text
    assert "Correct: 97.9 % of 1000 images" in (runs.out / "kernel_size" / "confusion-xvolution-3.md").read_text()


def test_many_classes_are_listed_by_their_largest_confusions(runs: Any) -> None:
    names = tuple(f"class {number}" for number in range(100))
    found = predict(runs, names)
    results = load_sweep(runs.out, "kernel_size")
    [group] = confusion.confusions(results, confusion.chosen(results, [("operator", "xvolution")]), [])
    text = confusion.matrix_table(group).to_markdown()
    counts: dict[tuple[int, int], float] = {}
    for seed in range(3):
        one = found["xvolution", seed]
        for pair in zip(one["label"].tolist(), one["predicted"].tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1 / 3
    largest = max(count for (true, predicted), count in counts.items() if true != predicted)
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| class")]
    assert "largest confusions of 100 classes" in text and len(rows) == confusion.MOST_CONFUSIONS
    assert float(rows[0][2]) == pytest.approx(largest, abs=0.05)
    values = [float(row[2]) for row in rows]
    assert values == sorted(values, reverse=True)


def test_only_chooses_rows(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    predict(runs)
    arguments = ["confusion", "--source", str(runs.out), "--sweep", "kernel_size", "--only"]
    assert main([*arguments, "operator=X-volution", "--only", "kernel_size=3"]) == 0
    assert not (runs.out / "kernel_size" / "confusion-convolution-3.md").exists()
    for wrong, message in {"operater=x": "did you mean 'operator'", "kernel_size=4": "leaves no row"}.items():
        with pytest.raises(UserError, match=message):
            main([*arguments, wrong])


# ---- runs without predictions, and files that are none


def test_runs_without_predictions_get_one_sentence(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["confusion", "--source", str(runs.out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip().count("\n") == 0 and "kernel_size: no finished run holds predictions" in printed.out
    assert [path.name for path in (runs.out / "kernel_size").iterdir()] == ["cells.json"]


def test_wandb_alone_gets_one_sentence(
    runs: Any, wandb_file: Any, start_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tracked"
    for cell in runs.cells:
        run = start_run(runs.sweep, cell).row(_step=29, top1=50.0)
        run.exit(0).write(folder / cell["cell_id"] / "offline-run-1-a" / f"run-{cell['cell_id']}.wandb")
    assert main(["confusion", "--source", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "no finished run holds predictions" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_run_without_predictions_is_left_out_with_a_warning(runs: Any) -> None:
    predict(runs)
    (runs.folder("xvolution", 3, 1) / "predictions.npz").unlink()
    render_confusion(runs.out, "kernel_size", runs.out)
    text = (runs.out / "kernel_size" / "confusion-xvolution-3.md").read_text()
    assert "mean over 2 seeds" in text and "Warning: 1 finished run without predictions left out" in text


def _saved(**changes: Any) -> bytes:
    content = io.BytesIO()
    kept = {name: value for name, value in {**arrays(985, 1), **changes}.items() if value is not None}
    np.savez(content, allow_pickle=True, **kept)
    return content.getvalue()


def _with(name: str, at: int, value: Any) -> np.ndarray:
    changed = np.array(arrays(985, 1)[name])
    changed[at] = value
    return changed


class Trap:
    """Its pickle runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trapped",)


def _bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("label.npy", "w") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    return content.getvalue()


def _huge_shape() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (1 << 60,)})
        for name in arrays(985, 1):
            archive.writestr(f"{name}.npy", header.getvalue())
    return content.getvalue()


DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"not an archive",
    "cut": lambda: _saved()[:-900],
    "a changed byte": lambda: _saved().replace(b"descr", b"d\xffscr"),
    "a pickle": lambda: pickle.dumps(Trap()),
    "objects": lambda: _saved(label=np.array([Trap()] * IMAGES, dtype=object)),
    "no score": lambda: _saved(score=None),
    "labels that are fractions": lambda: _saved(label=arrays(985, 1)["label"] + 0.5),
    "a matrix of labels": lambda: _saved(label=arrays(985, 1)["label"][:, None]),
    "fewer labels": lambda: _saved(label=arrays(985, 1)["label"][:-1]),
    "no images": lambda: _saved(**{name: values[:0] for name, values in arrays(985, 1).items() if name != "classes"}),
    "a repeated index": lambda: _saved(index=_with("index", 5, 4)),
    "a negative label": lambda: _saved(label=_with("label", 5, -1)),
    "a label without a class": lambda: _saved(predicted=_with("predicted", 5, 4)),
    "a score above 1": lambda: _saved(score=_with("score", 5, 1.5)),
    "a score that is no number": lambda: _saved(score=_with("score", 5, np.nan)),
    "names that are numbers": lambda: _saved(classes=np.arange(4)),
    "another run": lambda: _saved(**arrays(700, 1)),
    "a bomb": _bomb,
    "a shape without bytes": _huge_shape,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_gets_one_sentence(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "predictions.npz"
    result = {"metrics": {"top1": {"last": 98.5}}}
    path.write_bytes(_saved())
    assert read_predictions(path, result) is not None
    path.write_bytes(DAMAGED[damage]())
    with pytest.raises(UserError, match="--force runs the cell again") as caught:
        read_predictions(path, result)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("trapped").exists()


def test_a_damaged_file_costs_its_run_alone(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    predict(runs)
    path = runs.folder("xvolution", 3, 1) / "predictions.npz"
    path.write_bytes(b"")
    assert main(["confusion", "--source", str(runs.out), "--only", "operator=xvolution"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("note: ") and printed.err.count("\n") == 1 and str(path) in printed.err
    assert "the run of each seed" in printed.out.replace("\n", " ")


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "predictions.npz")
    with pytest.raises(UserError, match="not a regular file"):
        read_predictions(tmp_path / "predictions.npz", {})


def test_runs_of_one_row_on_other_images_are_refused(runs: Any) -> None:
    made = predict(runs)["xvolution", 1]
    made["label"], made["predicted"] = (np.roll(made[name], 1) for name in ("label", "predicted"))
    np.savez(runs.folder("xvolution", 3, 1) / "predictions.npz", **made)
    with pytest.raises(UserError, match="seeds 0 and 1 predict other images or classes"):
        render_confusion(runs.out, "kernel_size", runs.out)


def test_control_characters_in_names_reach_no_output(runs: Any) -> None:
    predict(runs, ("a\x1b[31m", "b\u202e", "c\x07", "d\udc80"))
    render_confusion(runs.out, "kernel_size", runs.out, [("operator", "xvolution")])
    for suffix in (".md", ".tex", ".csv", ".svg"):
        text = (runs.out / "kernel_size" / f"confusion-xvolution-3{suffix}").read_text()
        assert not set("\x1b\u202e\x07\udc80") & set(text)


# ---- the figure


@pytest.mark.parametrize("number", [2, 10, 21, 100, 250])
def test_names_on_the_axes_are_readable_and_inside_the_figure(number: int) -> None:
    names = [f"class of a name {at}" for at in range(number)]
    counts = np.random.default_rng(0).integers(0, 50, (number, number)).astype(float)
    chart = Chart(pd.DataFrame(counts, names, names), None, "X-volution: 87.3 % correct", "true class", smoke=True)
    ax = kinds.confusion(chart)
    figure: Any = ax.get_figure(root=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rows = ax.get_yticklabels()
    shown = [label.get_text() for label in rows]
    assert shown == names[:: -(-number // 100)] == [label.get_text() for label in ax.get_xticklabels()]
    boxes = sorted((label.get_window_extent() for label in rows), key=lambda box: box.y0)
    assert all(upper.y0 >= lower.y1 - 2 for lower, upper in itertools.pairwise(boxes)), "names overlap"
    assert min(label.get_fontsize() for label in rows) >= 5, "too small to read"
    whole = figure.bbox
    texts = [*rows, *ax.get_xticklabels(), *ax.texts, figure._supxlabel, *figure.texts]
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1, text.get_text()
    assert len(ax.texts) == (np.count_nonzero(counts) if number <= 20 else 0)


def test_a_class_without_images_is_grey_and_said_so() -> None:
    names = ["a", "b"]
    chart = Chart(pd.DataFrame([[3.0, 1.0], [0.0, 0.0]], names, names), None, "X-volution", "true class")
    figure: Any = kinds.confusion(chart).get_figure(root=True)
    assert "grey: no images of the class" in figure._supxlabel.get_text().replace("\n", " ")
