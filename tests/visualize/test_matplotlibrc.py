"""Figures start from matplotlib's defaults and ours: the user's matplotlibrc changes no byte of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import matplotlib
import pytest

import analysis.__main__
import lightning_xvol.__main__

LEDGERS = Path(__file__).parents[1] / "fixtures" / "old_ledgers.zip"
OF_A_USER = {
    "font.size": 30, "font.family": "monospace", "axes.grid": True, "axes.facecolor": "black", "lines.linewidth": 9,
    "axes.prop_cycle": "cycler('color', ['red'])", "savefig.dpi": 17, "savefig.transparent": True, "text.usetex": True,
    "figure.constrained_layout.use": True, "axes.unicode_minus": False, "svg.fonttype": "path", "pdf.fonttype": 42,
}  # fmt: skip
DIAGRAM = ("diagram", "--recipe", "match_small", "--operator", "xvolution")


def _figures(ledger: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert analysis.__main__.main(["figures", "--source", str(ledger), "--out", str(out)]) == 0


def _diagram(_: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lightning_xvol", *DIAGRAM, "--out", str(out)])
    assert lightning_xvol.__main__.main() == 0


@pytest.mark.parametrize("draw", [_figures, _diagram])
def test_a_matplotlibrc_changes_no_figure(draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipfile.ZipFile(LEDGERS).extractall(tmp_path / "old")
    ledger = tmp_path / "old" / "kernel_size"
    draw(ledger, tmp_path / "clean", monkeypatch)
    with matplotlib.rc_context(OF_A_USER):
        draw(ledger, tmp_path / "user", monkeypatch)
    clean, user = ({path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.*")}
                   for out in (tmp_path / "clean", tmp_path / "user"))  # fmt: skip
    assert any(name.endswith(".svg") for name in clean)
    assert user == clean
