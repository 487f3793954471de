"""A sweep and its faults: what tests do to its commands, processes and files, and what must hold at the end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import Any

from sweep_bench import PATIENCE_SECONDS, Bench, Ended, Started


class StruckSweep:
    """One sweep on one ledger.

    Each fault returns whether it found something to strike. After the faults `finish` runs the same command until it
    succeeds, and the checks say whether anything was lost, repeated or changed.

    Attributes:
        commands: The commands that were started.
        random: The source of every choice.
        left: After each `look`, the newest step of every unfinished cell.
        records: The record files of each finished cell, as `look` first saw them.
    """

    def __init__(self, bench: Bench, *flags: str, seed: int = 0, patience: float = PATIENCE_SECONDS) -> None:
        self.bench, self.ledger, self.flags, self.patience = bench, bench.ledger, flags, patience
        self.random = random.Random(seed)
        self.commands: list[Started] = []
        self.left: list[dict[str, int]] = []
        self.records: dict[str, dict[str, Any]] = {}

    def start(self, *more: str) -> Started:
        self.commands.append(self.bench.start(*self.flags, *more))
        return self.commands[-1]

    def running(self) -> list[Started]:
        return [command for command in self.commands if command.is_running()]

    def steps(self) -> int:
        """The steps of all newest checkpoints."""
        return sum(self.ledger.newest_step(cell) for cell in self.ledger.ids())

    def kill_command(self) -> bool:
        """kill -9 to a launcher. Its processes must end by themselves, and no cell may stay held by them."""
        running = [command for command in self.running() if command.has_printed()]
        if not running:
            return False
        self.random.choice(running).kill()
        if not self.running():
            assert not self.ledger.workers()
        return True

    def kill_worker(self, cell: str | None = None) -> bool:
        """kill -9 to the process that works on `cell`, or on any cell."""
        workers = {each: pid for each, pid in self.ledger.workers().items() if cell in (None, each)}
        if not workers:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[self.random.choice(list(workers))], signal.SIGKILL)
        return True

    def tear_checkpoint(self) -> bool:
        """Cut the newest checkpoint of an unfinished cell. A process that works on it is killed first."""
        begun = sorted(cell for cell, step in self.ledger.unfinished_steps().items() if step)
        if not begun:
            return False
        cell = self.random.choice(begun)
        if self.kill_worker(cell):
            end = time.monotonic() + 10
            while cell in self.ledger.workers() and time.monotonic() < end:
                time.sleep(0.01)
        checkpoints = sorted((self.ledger.cells / cell / "checkpoints").glob("step=*.ckpt"))
        if cell in self.ledger.results() or not checkpoints:
            return False  # it was quicker
        os.truncate(checkpoints[-1], int(self.random.random() * checkpoints[-1].stat().st_size))
        return True

    def cut_record(self) -> bool:
        """Cut the record or the metrics of a finished cell, which has to be run again then."""
        finished = list(self.ledger.results())
        if not finished:
            return False
        cell = self.random.choice(finished)
        self.records.pop(cell, None)
        path = self.ledger.cells / cell / self.random.choice(["result.json", "metrics.csv"])
        os.truncate(path, int(self.random.random() * path.stat().st_size))
        return True

    def start_another(self) -> bool:
        """A second command beside the first."""
        if len(self.running()) > 1:
            return False
        self.start()
        return True

    def look(self) -> None:
        """Note the steps of the unfinished cells, and the records of the finished ones."""
        self.left.append(self.ledger.unfinished_steps())
        for cell in self.ledger.results():
            self.records.setdefault(cell, self._record(cell))

    def _record(self, cell: str) -> dict[str, Any]:
        """Time, inode and hash of the files that a second training would write anew."""
        names = {f"{cell}/result.json", f"{cell}/metrics.csv"}
        return {name: facts for name, facts in self.ledger.files([cell]).items() if name in names}

    def finish(self, *more: str, attempts: int = 1) -> Ended:
        """Wait for the commands that run, then run the same command until it succeeds."""
        self.look()
        for command in self.running():
            command.ended(self.patience)
        for _ in range(attempts):
            ended = self.bench.here(*self.flags, *more)
            if ended.code == 0:
                break
        assert ended.code == 0, ended
        return ended

    def check(self, undisturbed: dict[str, dict[str, Any]]) -> None:
        """No cell is lost or different, none was run again after it had finished, and no temporary file is left."""
        essence = self.ledger.essence()
        different = [cell for cell in essence if essence[cell] != undisturbed.get(cell)]
        twice = [cell for cell, record in self.records.items() if self._record(cell) != record]
        assert (undisturbed.keys() - essence.keys(), different, twice) == (set(), [], [])
        assert not list(self.ledger.cells.rglob(".*.tmp"))

    def check_resumes(self) -> tuple[int, int]:
        """Each process went on from the newest checkpoint that the process before it had left.

        It holds where `look` came after each fault, while nothing ran. Returns how many cells were interrupted, and how
        many of them went on from a checkpoint.
        """
        segments = self.ledger.segments()
        interrupted = {cell for steps in self.left for cell in steps}
        for cell, parts in segments.items():
            left = [steps[cell] for steps in self.left if cell in steps]
            starts = [part["start_step"] for part in parts]
            assert starts == sorted(starts) and starts[0] == 0
            assert set(starts) <= {0, *left}
            assert max(left, default=0) in starts, "no checkpoint is given up"
            if not left:
                assert len(starts) == 1, "a cell that no fault struck is trained once"
        return len(interrupted), sum(any(part["start_step"] for part in segments[cell]) for cell in interrupted)
