"""Tracking by Weights & Biases, offline by default. It is a copy of the record: no error of it fails a run.

A tracked run carries flat configuration keys (`operator_name`, `optim_lr`), its group, its sweep as job type, the plan
of that sweep, and at the end the whole record as `result_json`, or the `error`. So a copied folder of offline runs is
complete without the ledger (`analysis.sources.offline`). Only this module imports wandb, and only for a tracked run.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_xvol.config.resolved import SCHEMA, Resolved
from lightning_xvol.config.schema import DEFAULT_PROJECT, flat, to_dict
from lightning_xvol.errors import UserError, first_line

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

Mode = Literal["offline", "online", "disabled"]

# Long enough for a slow link and short compared to a run. Without a network, wandb's own 90 s would delay every cell of
# a sweep.
ONLINE_TIMEOUT_SECONDS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracking:
    """How a run is tracked. `labels` are more flat configuration keys, such as the row, axes and plan of the sweep."""

    mode: Mode = "offline"
    project: str = DEFAULT_PROJECT
    sweep: str = "fit"
    labels: Mapping[str, Any] = field(default_factory=dict)


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
        UserError: for a name of a project, or a variable `WANDB_...` of the environment, that W&B refuses.
    """
    if tracking.mode == "disabled":
        return
    if not tracking.project.strip():
        raise UserError("the W&B project has no name; give --wandb-project NAME")
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
    lengths: Mapping[str, int],
    tell: Callable[[str], None],
) -> WandbLogger | None:
    """A Lightning WandbLogger whose failures only warn, or None if the run is not tracked.

    The id of the W&B run is the id of the cell. `lengths` are two more configuration keys, `steps_per_epoch` and
    `total_steps`. In mode `online` without a network or a key, the run is tracked offline with one warning. `tell` is
    called with a sentence where the run is not tracked as it should be.
    """
    if tracking.mode == "disabled":
        return None
    try:
        return _open(tracking, config, folder, commit, lengths, tell)
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
    lengths: Mapping[str, int],
    tell_user: Callable[[str], None],
) -> WandbLogger:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    _forget_the_service_of_another_process()

    class GuardedWandbLogger(WandbLogger):
        broken = False
        tell = staticmethod(tell_user)
        log_metrics = _guard(WandbLogger.log_metrics)
        log_hyperparams = _guard(WandbLogger.log_hyperparams)
        log_image = _guard(WandbLogger.log_image)
        finalize = _guard(WandbLogger.finalize)

        @_guard
        def write_summary(self, values: Mapping[str, Any]) -> None:
            self.experiment.summary.update(values)

        def finish(self, result: Mapping[str, Any] | None, error: str | None) -> None:
            """Write the record or the error into the summary and close the run, with exit code 0 for a record, else 1.

            A run that failed to log is closed too, so that no later run of this process adds to its file.
            """
            if result is not None:
                self.write_summary(_summary(result))
            elif error is not None:
                self.write_summary({"error": error})
            try:
                self.experiment.finish(exit_code=0 if result is not None and not self.broken else 1)
            except Exception as error:
                _give_up(self, error)

    # By default wandb.init handles SIGINT and captures the console; here it must do neither.
    options: dict[str, Any] = {
        "console": "off",
        "silent": True,
        "x_disable_stats": True,
        "reinit": "create_new",  # keeps a run apart from an earlier one that could not be closed
    }
    if "x_transaction_log_flush_interval" in wandb.Settings.model_fields:
        options["x_transaction_log_flush_interval"] = 1.0  # a killed run keeps its rows
    arguments: dict[str, Any] = {
        "project": tracking.project,
        "dir": str(folder),
        "id": config.cell_id,
        "name": f"{tracking.labels.get('row', config.operator.name)}-{config.cell_id}",
        "group": config.group_id,
        "job_type": tracking.sweep,
        "tags": [f"commit:{commit[:12]}"] if commit else [],
        "resume": "allow",
        "config": {
            "seed": config.seed,
            **flat(to_dict(config)),
            **tracking.labels,
            **lengths,
            "sweep": tracking.sweep,
            "schema": SCHEMA,
            "cell_id": config.cell_id,
            "group_id": config.group_id,
            "config_json": json.dumps(to_dict(config), sort_keys=True),
        },
    }
    run = None
    if tracking.mode == "online":
        try:
            run = wandb.init(
                mode="online", settings=wandb.Settings(init_timeout=ONLINE_TIMEOUT_SECONDS, **options), **arguments
            )
        except Exception as error:
            tell_user(f"tracked offline: W&B is not reachable ({first_line(error)})")
            log.warning("W&B is not reachable (%s); this run is tracked offline", first_line(error))
            wandb.teardown()
    if run is None:
        run = wandb.init(mode="offline", settings=wandb.Settings(**options), **arguments)
    # Each row holds its step: W&B's own counter grows with every call, and Lightning makes several calls a step.
    try:
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return GuardedWandbLogger(experiment=run)
    except Exception:
        run.finish(exit_code=1)
        raise


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: result[key] for key in ("status", "params", "macs", "wall_seconds", "weights_sha256", "commit", "seed")
    }
    for name, metric in result["metrics"].items():
        values |= {name: metric["last"], f"{name}_best": metric["best"], f"{name}_best_epoch": metric["best_epoch"]}
    values |= {f"environment_{key}": value for key, value in result["environment"].items()}
    values["result_json"] = json.dumps(result, sort_keys=True)
    return values
