"""What libraries say about the machine does not stand beside the one line of an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    words = [sys.executable, "-c", program]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_matplotlib_says_nothing_about_the_machine(tmp_path: Path) -> None:
    """Neither about a wrong matplotlibrc nor that it looks for fonts on its first import."""
    (tmp_path / "matplotlibrc").write_text("no colon\nfont.size: large-ish\nno.such.key: 3\n")
    program = """
import logging
if {prepared}:
    from lightning_xvol import surroundings
    surroundings.prepare()
import matplotlib
logging.getLogger("matplotlib.font_manager").warning("Matplotlib is building the font cache; this may take a moment.")
"""
    heard = run(tmp_path, program.format(prepared=False)).stderr
    assert all(text in heard for text in ("Missing colon", "no.such.key", "font cache"))
    done = run(tmp_path, program.format(prepared=True))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_matplotlibrc_that_is_not_utf_8_is_one_sentence_or_nothing(tmp_path: Path) -> None:
    """Its comments may be in the encoding of an older machine. One of the current folder cannot be passed over."""
    zipfile.ZipFile(ROOT / "tests" / "fixtures" / "old_ledgers.zip").extractall(tmp_path / "old")
    content = "# Größe\nfont.size: 30\n".encode("latin-1")
    (tmp_path / "elsewhere").write_bytes(content)
    words = ["-m", "analysis", "figures", "--source", "old/kernel_size", "--out", "out", "--figure", "seeds"]
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "MATPLOTLIBRC": "elsewhere"}
    for code in (0, 2):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stderr
        if code == 0:
            assert (tmp_path / "out" / "kernel_size" / "seeds.pdf").exists() and not done.stderr
            shutil.rmtree(tmp_path / "out")
            (tmp_path / "matplotlibrc").write_bytes(content)
    assert done.stderr.startswith("error: a file that matplotlib reads is not UTF-8") and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("out/*/*"))


def test_an_error_does_not_wait_for_matplotlib(tmp_path: Path) -> None:
    """Its first import takes seconds and writes a cache of fonts, for which a mistake has no use."""
    zipfile.ZipFile(ROOT / "tests" / "fixtures" / "old_ledgers.zip").extractall(tmp_path / "old")
    (tmp_path / "page.md").write_text("<!-- analysis cost --source old/kernel_size -->")
    source = ["--source", "old/kernel_size", "--out", "out"]
    mistakes = [
        *(["tables", *source, *wrong] for wrong in (["--sweep", "none"], ["--only", "operator=none"])),
        *(["figures", *source, *wrong] for wrong in (["--sweep", "none"], ["--metric", "none"])),
        ["confusion", *source, "--sweep", "none"],
        ["compare", *source, "--set", "optim.lr=7", "--set", "optim.lr=8"],
        ["claims", *source[:2], "--only", "none=1"],
        ["fill", "page.md"],
    ]
    program = f"""
import sys
from analysis.__main__ import main
from lightning_xvol.errors import UserError
for mistake in {mistakes}:
    try:
        main(mistake)
    except UserError as error:
        print("matplotlib" in sys.modules, "no runs at" in str(error), mistake)
"""
    done = run(tmp_path, program)
    assert done.stdout.splitlines() == [f"False False {mistake}" for mistake in mistakes], done.stderr
    assert not (tmp_path / "out").exists()
