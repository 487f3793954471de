"""No figure of earlier results stays beside a new table, as if it showed the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from lightning_xvol.errors import UserError
from tests.analysis.compared_runs import write_runs

SCORES = {"convolution": {3: [70.0, 70.4, 71.2]}, "xvolution": {3: [97.9, 98.5, 99.1]}}
TABLE = {"table.csv", "table.md", "table.tex"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def formats(*stems: str) -> set[str]:
    return {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf", "svg")}


def test_a_sweep_that_has_no_figure_any_more_keeps_no_older_one(make_ledger, tmp_path: Path, capsys) -> None:
    runs, folder = make_ledger(SCORES), tmp_path / "out" / "kernel_size"
    words = ["tables", "--source", str(runs.out), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert names(folder) == TABLE | formats("figure")
    (folder / "figure-column.png").write_bytes(b"another command's")
    assert "removed" not in capsys.readouterr().out
    runs.sweep["figure"] = None
    runs.write_sweep()
    assert main(words) == 0
    assert names(folder) == TABLE | {"figure-column.png"}
    assert f"\nremoved {folder}/figure.png (.pdf, .svg), because it showed earlier results\n" in capsys.readouterr().out
    assert main(words) == 0
    assert "removed" not in capsys.readouterr().out


def test_a_figure_that_is_left_out_keeps_no_older_file(make_ledger, tmp_path: Path, capsys) -> None:
    runs, folder = make_ledger(SCORES), tmp_path / "out" / "kernel_size"
    words = ["figures", "--source", str(runs.out), "--out", str(tmp_path / "out")]
    runs.write_curves()
    assert main(words) == 0
    assert names(folder) == formats("figure", "seeds", "learning")
    for path in runs.out.glob("cells/*/metrics.csv"):
        path.unlink()
    capsys.readouterr()
    assert main([*words, "--figure", "seeds"]) == 0
    assert names(folder) == formats("figure", "seeds", "learning"), "nobody asked for learning curves"
    assert main(words) == 0
    assert names(folder) == formats("figure", "seeds")
    assert f"removed {folder}/learning.png (.pdf, .svg)" in capsys.readouterr().out


def test_where_nothing_is_drawn_for_lack_of_room_everything_stays(make_ledger, tmp_path: Path) -> None:
    runs, folder = make_ledger(SCORES), tmp_path / "out" / "kernel_size"
    folder.mkdir(parents=True)
    (folder / "seeds-1x1.png").write_bytes(b"older")
    with pytest.raises(UserError, match="too small"):
        main(["figures", "--source", str(runs.out), "--out", str(tmp_path / "out"), "--size", "1x1"])
    assert names(folder) == {"seeds-1x1.png"}


def test_a_comparison_without_differences_keeps_no_older_figure_of_them(tmp_path: Path, capsys) -> None:
    out, folder = tmp_path / "out", tmp_path / "out" / "compare" / "kernel_size"
    scores = {("convolution", 3): [90.1, 90.4, 90.9], ("xvolution", 3): [93.1, 93.9, 93.4]}
    for seeds, expected in ((3, formats("figure", "differences")), (1, formats("figure"))):
        for name, lr in (("a", 0.1), ("b", 0.05)):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            some = {place: values[:seeds] for place, values in scores.items()}
            write_runs(tmp_path / name, some, ("optim.lr", lr))
        sources = ["--source", str(tmp_path / "a"), "--source", str(tmp_path / "b")]
        assert main(["compare", *sources, "--out", str(out)]) == 0
        assert names(folder) == TABLE | expected
    assert f"removed {folder}/differences.png (.pdf, .svg)" in capsys.readouterr().out


def test_a_row_without_predictions_keeps_no_older_matrix(make_ledger, tmp_path: Path, capsys) -> None:
    runs, folder = make_ledger(SCORES), tmp_path / "out" / "kernel_size"
    label = np.arange(1000, dtype="<i4") % 4
    for cell in runs.cells:
        right = round(10 * SCORES[cell["operator"]][3][cell["seed"]])
        predicted = np.where(np.arange(1000) < right, label, (label + 1) % 4).astype("<i4")
        score, classes = np.full(1000, 0.5, "<f4"), np.array(["a", "b", "c", "d"])
        made = {"index": np.arange(1000, dtype="<i4"), "label": label, "predicted": predicted}
        np.savez(runs.out / "cells" / cell["cell_id"] / "predictions.npz", **made, score=score, classes=classes)
    words = ["confusion", "--source", str(runs.out), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    before = names(folder)
    gone = {name for name in before if name.startswith("confusion-xvolution")}
    assert len(gone) == 6
    for seed in range(3):
        (runs.folder("xvolution", 3, seed) / "predictions.npz").unlink()
    assert main([*words, "--only", "operator=convolution"]) == 0
    assert names(folder) == before, "the row was not asked for"
    capsys.readouterr()
    assert main(words) == 0
    assert names(folder) == before - gone
    assert "removed" in capsys.readouterr().out
