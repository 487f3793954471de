"""Helpers for tests of runs, also those that run in other processes, which must be able to import them."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import RunConfig, from_dict, set_value, to_dict

# 40 images in batches of 8 are 5 steps an epoch: 23 steps end in the middle of the fifth.
TINY = {
    "backbone.blocks": (1, 1, 1, 1),
    "backbone.widths": (4, 4, 8, 8),
    "backbone.stem_width": 4,
    "data.limit": 40,
    "data.batch_size": 8,
    "train.steps": 23,
    "train.checkpoint_every": 3,
    "optim.lr": 0.05,
}
SPLITS = ("train", "validation", "test")


def tiny(operator: str = "convolution", recipe: str = "match_small", **changes: Any) -> RunConfig:
    """A run of a second. `changes` are paths with two underscores for the dot: `train__steps=12`."""
    config = get_recipe(recipe).config(operator)
    if config.data.name == "match":  # with a limit alone, it would make thousands of images first
        for split in SPLITS:
            config = set_value(config, f"data.{split}_size", 40)
    for path, value in {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        config = set_value(config, path, value)
    return config


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def outcome(folder: Path) -> dict[str, Any]:
    """The results of a run that interruptions must not change."""
    result = result_of(folder)
    rows = (folder / "metrics.csv").read_bytes()
    predictions = folder / "predictions.npz"
    kept = {"predictions": predictions.read_bytes()} if predictions.exists() else {}
    return {**{key: result[key] for key in ("weights_sha256", "metrics", "cell_id")}, "rows": rows, **kept}


def wait_for_checkpoint(out: Path, has_ended: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a run somewhere in `out` has written a checkpoint."""
    deadline = time.monotonic() + seconds
    while not list(out.glob("**/checkpoints/step=*.ckpt")):
        assert time.monotonic() < deadline and not has_ended(), "no checkpoint"
        time.sleep(0.005)


def _resolve(target: str) -> tuple[Any, str]:
    """The owner and the name of `module:attribute.attribute`."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


Hook = Callable[[str, int], None]  # (name of the function, number of the call)


def _surround(target: str, before: Hook | None = None, after: Hook | None = None) -> None:
    """Call `before` and `after` around every call of `target`."""
    owner, name = _resolve(target)
    original, calls = getattr(owner, name), 0

    def surrounded(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if before is not None:
            before(name, calls)
        result = original(*args, **kwargs)
        if after is not None:
            after(name, calls)
        return result

    setattr(owner, name, surrounded)


@dataclass(frozen=True)
class Set:
    """Replaces `target` by `value`."""

    target: str
    value: Any

    def arm(self) -> None:
        setattr(*_resolve(self.target), self.value)


@dataclass(frozen=True)
class Fail:
    """Makes the `call`-th and every later call of `target` raise."""

    target: str
    call: int = 1

    def arm(self) -> None:
        def before(name: str, number: int) -> None:
            if number >= self.call:
                raise RuntimeError(f"{name} fails here\nwith a second line")

        _surround(self.target, before)


@dataclass(frozen=True)
class Without:
    """Makes every import of a package fail, even if the process has imported it before."""

    package: str

    def arm(self) -> None:
        for name in [self.package, *(name for name in sys.modules if name.partition(".")[0] == self.package)]:
            sys.modules[name] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Death:
    """Ends the process without any clean-up, before or after the `call`-th call of `target`."""

    target: str  # module:attribute.attribute
    call: int = 1
    after: bool = False
    kill: bool = False
    delay: float = 0.0

    def arm(self) -> None:
        _surround(self.target, **{"after" if self.after else "before": self._die})

    def _die(self, name: str, number: int) -> None:
        if number != self.call:
            return
        time.sleep(self.delay)
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(77)


def _enter(environment: Mapping[str, str | None], log: Path) -> None:
    # Runs resume bit by bit on a CPU; a GPU does not promise that.
    for name, value in {"CUDA_VISIBLE_DEVICES": "", **environment}.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    sys.stdout.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def train_in_process(
    config: Mapping[str, Any],
    folder: Path,
    log: Path,
    death: Death | None = None,
    environment: Mapping[str, str | None] | None = None,
    tracking: Mapping[str, Any] | None = None,
    faults: Sequence[Set | Fail | Without] = (),
    data_dir: Path | None = None,
) -> None:
    """Train `config` in `folder` until `death`, with `faults`."""
    _enter(environment or {}, log)
    from lightning_xvol.training.run import RunContext, train
    from lightning_xvol.training.tracking import Tracking

    for fault in [*faults, *([death] if death else [])]:
        fault.arm()
    tracker = Tracking(**(tracking or {"mode": "disabled"}))
    train(from_dict(config, trust=True), folder, RunContext(data_dir, tracking=tracker))


def command_in_process(
    arguments: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str | None] | None = None
) -> None:
    """`python -m lightning_xvol` with `arguments`, in `folder`; stderr goes to `log` with the suffix .err."""
    _enter(environment or {}, log)
    os.dup2(os.open(log.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.chdir(folder)
    from lightning_xvol.__main__ import main
    from lightning_xvol.errors import run_command_line

    sys.argv = ["lightning_xvol", *arguments]
    run_command_line(main)


def plain(config: RunConfig) -> dict[str, Any]:
    """`config` as plain values, which another process can take."""
    return to_dict(config)
