"""What the tests of runs share, and what they run in processes of their own (which must be able to import it)."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
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


def tiny(operator: str = "convolution", recipe: str = "match_small", **settings: Any) -> RunConfig:
    """A run of a second. Settings are paths with two underscores for the dot: `train__steps=12`."""
    config = get_recipe(recipe).config(operator)
    if config.data.name == "match":  # a limit alone would draw its thousands of images first
        for split in SPLITS:
            config = set_value(config, f"data.{split}_size", 40)
    for path, value in {**TINY, **{key.replace("__", "."): value for key, value in settings.items()}}.items():
        config = set_value(config, path, value)
    return config


def _resolve(target: str) -> tuple[Any, str]:
    """The owner and the name of `module:attribute.attribute`."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


@dataclass(frozen=True)
class Set:
    """Puts `value` in the place of `target`."""

    target: str
    value: Any

    def arm(self) -> None:
        setattr(*_resolve(self.target), self.value)


@dataclass(frozen=True)
class Fail:
    """Makes every call of `target` from the `call`-th on raise."""

    target: str
    call: int = 1

    def arm(self) -> None:
        owner, name = _resolve(self.target)
        original, calls = getattr(owner, name), 0

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= self.call:
                raise RuntimeError(f"{name} fails here\nwith a second line")
            return original(*args, **kwargs)

        setattr(owner, name, failing)


@dataclass(frozen=True)
class Without:
    """Makes every import of a package fail, also where it has been imported."""

    package: str

    def arm(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            sys.modules[name] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Death:
    """Ends the process, without any clean-up, at the `call`-th call of `target`, before or after what it does."""

    target: str  # module:attribute.attribute
    call: int = 1
    after: bool = False
    kill: bool = False
    delay: float = 0.0

    def arm(self) -> None:
        owner, name = _resolve(self.target)
        original, calls = getattr(owner, name), 0

        def mortal(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and not self.after:
                self._die()
            result = original(*args, **kwargs)
            if calls == self.call and self.after:
                self._die()
            return result

        setattr(owner, name, mortal)

    def _die(self) -> None:
        time.sleep(self.delay)
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(77)


def _enter(environment: Mapping[str, str | None], log: Path) -> None:
    # Runs resume bit by bit on a CPU; on a GPU nothing of the kind is promised.
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
    """`python -m lightning_xvol` with `arguments` in the working directory `folder`, stderr apart in `log`.err."""
    _enter(environment or {}, log)
    os.dup2(os.open(log.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.chdir(folder)
    from lightning_xvol.__main__ import main
    from lightning_xvol.errors import run_command_line

    sys.argv = ["lightning_xvol", *arguments]
    run_command_line(main)


def plain(config: RunConfig) -> dict[str, Any]:
    """`config` as it travels to another process."""
    return to_dict(config)
