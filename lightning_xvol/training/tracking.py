"""Tracking by Weights & Biases, offline by default. It is a copy of the record: no error of it fails a run.

A tracked run carries what `lightning_xvol.training.tracked_values` says. So a copied folder of offline runs is complete
without the ledger (`analysis.sources.offline`). Only this module and `tracked_files` import wandb, and only for a
tracked run.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_xvol.config.resolved import Resolved
from lightning_xvol.data.module import StepPlan
from lightning_xvol.errors import UserError, first_line
from lightning_xvol.ledger.tracked import LONGEST_TAG
from lightning_xvol.training.tracked_values import Tracking, arguments_of, first_summary, last_summary

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

# Long enough for a slow link and short compared to a run. Without a network, wandb's own 90 s would delay every cell of
# a sweep.
ONLINE_TIMEOUT_SECONDS = 20

__all__ = ["Tracking", "check_tracking", "open_logger", "start"]

log = logging.getLogger(__name__)


def _guard(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an error of W&B into one warning. The run then goes on untracked."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.broken:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            _give_up(self, error)
            return None

    return guarded


def _give_up(logger: Any, error: BaseException) -> None:
    if not logger.broken:
        logger.tell(f"untracked: W&B failed ({first_line(error)})")
        log.warning("W&B failed (%s); the run goes on without it", first_line(error))
    logger.broken = True


def check_tracking(tracking: Tracking) -> None:
    """Check what W&B will be told, before anything starts.

    Raises:
        UserError: for a name of a project, an entity, a tag, or a variable `WANDB_...` of the environment, that W&B
            refuses.
    """
    if tracking.mode == "disabled":
        return
    if not tracking.project.strip():
        raise UserError("the W&B project has no name; give --wandb-project NAME")
    entity = tracking.entity
    if entity is not None and (not entity.strip() or "/" in entity):
        raise UserError(f"--wandb-entity {entity!r} must be one name, as in wandb.ai/ENTITY/PROJECT")
    for tag in tracking.tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            raise UserError(f"--wandb-tags: {tag!r} has {len(tag)} characters; W&B takes 1 to {LONGEST_TAG}")
    try:
        import wandb
    except Exception:  # a run goes on without W&B
        return
    for given, name, value in [
        ("--wandb-project", "WANDB_PROJECT", tracking.project),
        *((name, name, value) for name, value in sorted(os.environ.items()) if name.startswith("WANDB_")),
    ]:
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except Exception as error:
            shown = "***" if "KEY" in name else value
            raise UserError(f"W&B refuses {given}={shown!r}: {_reason(error)}; correct it or unset it") from error


def _reason(error: Exception) -> str:
    """Why W&B refuses a value: its last line that says something, without pydantic's address of help."""
    lines = [line.strip().partition(" [type=")[0] for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line and "errors.pydantic.dev" not in line), first_line(error))


def open_logger(
    tracking: Tracking,
    config: Resolved,
    folder: Path,
    commit: str | None,
    plan: StepPlan,
    tell: Callable[[str], None],
) -> WandbLogger | None:
    """A Lightning WandbLogger whose failures only warn, or None if the run is not tracked.

    In mode `online` without a network or a key, the run is tracked offline with one warning. `tell` is called with a
    sentence where the run is not tracked as it should be.
    """
    if tracking.mode == "disabled":
        return None
    try:
        return _open(tracking, config, folder, commit, plan, tell)
    except Exception as error:
        tell(f"untracked: W&B cannot start ({first_line(error)})")
        log.warning("W&B cannot start (%s); the run goes on without it", first_line(error))
        return None


def _forget_the_service_of_another_process() -> None:
    """Let W&B start a service of this process.

    `WANDB_SERVICE` names the socket of a running service and the process that started it. A child inherits the
    variable, and the service may end before the child does.
    """
    token = os.environ.get("WANDB_SERVICE", "")
    if token.split("-")[1:2] != [str(os.getpid())]:
        os.environ.pop("WANDB_SERVICE", None)


def _open(
    tracking: Tracking,
    config: Resolved,
    folder: Path,
    commit: str | None,
    plan: StepPlan,
    tell_user: Callable[[str], None],
) -> WandbLogger:
    from pytorch_lightning.loggers import WandbLogger

    _forget_the_service_of_another_process()

    class GuardedWandbLogger(WandbLogger):
        broken = False
        tell = staticmethod(tell_user)
        log_hyperparams = _guard(WandbLogger.log_hyperparams)
        log_image = _guard(WandbLogger.log_image)
        finalize = _guard(WandbLogger.finalize)

        @_guard
        def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
            """Log a row with the `step` and the `epoch` that `metrics.csv` gives it."""
            done, epoch = plan.after(step)
            self.experiment.log({**metrics, "step": done, "epoch": epoch})

        @_guard
        def write_summary(self, values: Mapping[str, Any]) -> None:
            self.experiment.summary.update(values)

        def upload(self, result: Mapping[str, Any]) -> None:
            from lightning_xvol.training.tracked_files import upload_run

            try:
                upload_run(self.experiment, folder, result)
            except Exception as error:  # the run itself is tracked
                self.tell(f"without its artifacts: W&B failed ({first_line(error)})")

        def finish(self, result: Mapping[str, Any] | None, error: str | None) -> None:
            """Write the record or the error into the summary and close the run, with exit code 0 for a record, else 1.

            A run that failed to log is closed too, so that no later run of this process adds to its file.
            """
            if result is not None:
                self.write_summary(last_summary(result))
                if tracking.artifacts and not self.broken:
                    self.upload(result)
            elif error is not None:
                self.write_summary({"error": error})
            try:
                self.experiment.finish(exit_code=0 if result is not None and not self.broken else 1)
            except Exception as error:
                _give_up(self, error)

    run = start(
        tracking.mode, {**arguments_of(tracking, config, commit), "dir": str(folder)}, tracking.system, tell_user
    )
    # Each row holds its step: W&B's own counter grows with every call, and Lightning makes several calls a step.
    try:
        run.define_metric("step")
        run.define_metric("*", step_metric="step", step_sync=True)
        run.summary.update(first_summary(tracking, config, plan))
        return GuardedWandbLogger(experiment=run)
    except Exception:
        run.finish(exit_code=1)
        raise


def start(mode: str, arguments: Mapping[str, Any], system: bool, tell: Callable[[str], None]) -> Any:
    """A W&B run. In mode `online` without a network or a key it is an offline run, and `tell` gets a sentence.

    Args:
        mode: `offline` or `online`.
        arguments: The arguments of `wandb.init`.
        system: Whether W&B measures the processor, memory and accelerators.
        tell: Called where the run is not tracked as it should be.
    """
    import wandb

    # By default wandb.init handles SIGINT and captures the console; here it must do neither.
    options: dict[str, Any] = {
        "console": "off",
        "silent": True,
        "x_disable_stats": not system,
        "reinit": "create_new",  # keeps a run apart from an earlier one that could not be closed
    }
    if "x_transaction_log_flush_interval" in wandb.Settings.model_fields:
        options["x_transaction_log_flush_interval"] = 1.0  # a killed run keeps its rows
    if mode == "online":
        try:
            settings = wandb.Settings(init_timeout=ONLINE_TIMEOUT_SECONDS, **options)
            return wandb.init(mode="online", resume="allow", settings=settings, **arguments)
        except Exception as error:
            tell(f"tracked offline: W&B is not reachable ({first_line(error)})")
            log.warning("W&B is not reachable (%s); this run is tracked offline", first_line(error))
            wandb.teardown()
    return wandb.init(mode="offline", resume="allow", settings=wandb.Settings(**options), **arguments)
