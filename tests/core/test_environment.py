"""What a record says of where the run was made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from analysis.paper.tables_without_runs import _code
from lightning_xvol.training import environment

ROOT = Path(__file__).parents[2]


def test_the_commit_is_that_of_the_checkout() -> None:
    command = ["git", "-C", os.fspath(ROOT), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert environment.commit() in (head, f"{head}-dirty")


def test_a_cached_description_is_thrown_away_when_a_source_file_of_any_room_changes() -> None:
    before = _code()
    changed = ROOT / "lightning_xvol" / "operators" / "pssa.py"
    times = changed.stat()
    try:
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000_000))
        assert _code() != before
    finally:
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert _code() == before
