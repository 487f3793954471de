"""A run that is finished already: whether its record belongs to the configuration and the data that are here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_xvol.config.resolved import Resolved
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents
from lightning_xvol.ledger.record import DETECTIONS, read_result
from lightning_xvol.training.tasks import task_of

log = logging.getLogger(__name__)


def own_result(folder: Path, config: Resolved) -> dict[str, Any] | None:
    """The record in `folder`; None where it holds none.

    Raises:
        UserError: where it is the record of another run than `config`.
    """
    result = read_result(folder)
    if result is not None and result["cell_id"] != config.cell_id:
        raise UserError(
            f"{str(folder)!r} holds the record of run {result['cell_id']}, not of {config.cell_id}; "
            "move it away or choose another folder"
        )
    return result


def whose(folder: Path) -> str:
    """How messages call the finished run in `folder`."""
    return f"the finished run in {str(folder)!r}"


def check_finished(
    result: Mapping[str, Any], config: RunConfig, folder: Path, data_dir: Path | None, download: bool
) -> None:
    """Check that a finished run has seen the data that are here. Where there are none, nothing speaks against it.

    Raises:
        UserError: where the data are others.
    """
    if config.detector.keep_detections and not (folder / DETECTIONS["box"]).exists():
        log.info("note: %s keeps no detections; --force runs it again", whose(folder))
    before = result.get("data")
    if before is None:
        log.info("note: %s is older than the digest of data; it counts as done", whose(folder))
        return
    now = contents.generated(config.data)
    if now is None:
        try:
            now = task_of(config).data(config, data_dir, download=download).contents
        except UserError as error:
            log.info("note: the data of %s are not checked: %s", whose(folder), error)
            return
    contents.check(before, now, config.data, whose(folder))
