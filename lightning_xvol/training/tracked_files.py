"""Files as W&B artifacts, for `--wandb-artifacts`: those of a run, and the table and figure of a sweep.

An offline run keeps its artifacts in W&B's own data folder (`WANDB_DATA_DIR`) until `wandb sync` uploads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_xvol.errors import first_line
from lightning_xvol.ledger import tracked
from lightning_xvol.ledger.checkpoints import list_checkpoints
from lightning_xvol.training.tracked_values import Tracking
from lightning_xvol.training.tracking import start


def upload_run(run: Any, folder: Path, result: Mapping[str, Any]) -> None:
    """Upload the last checkpoint and the record of the run in `folder` to the W&B run `run`."""
    import wandb

    about = {name: metric["last"] for name, metric in result["metrics"].items()}
    record = wandb.Artifact(f"record-{result['cell_id']}", type="record", metadata=about)
    with record.new_file("result.json") as file:  # the run writes its own after tracking has ended
        json.dump(result, file, indent=1, sort_keys=True)
    for name in ("config.yaml", "metrics.csv"):
        record.add_file(str(folder / name), name)
    run.log_artifact(record)
    checkpoints = list_checkpoints(folder / "checkpoints")
    if checkpoints:
        model = wandb.Artifact(f"checkpoint-{result['cell_id']}", type="model", metadata=about)
        model.add_file(str(checkpoints[0]), "last.ckpt")
        run.log_artifact(model)


def upload_table(
    tracking: Tracking, folder: Path, name: str, paths: Mapping[str, Path], tell: Callable[[str], None]
) -> None:
    """Upload the table and the figure of a sweep, as a W&B run of its own that shows the figure.

    No error of W&B is raised.

    Args:
        tracking: How the runs of the sweep are tracked.
        folder: The folder of the sweep in the ledger.
        name: The id of the W&B run, which is the same for every upload of this table.
        paths: The files, by name.
        tell: Called with a sentence where W&B fails.
    """
    arguments = {
        "entity": tracking.entity,
        "project": tracking.project,
        "dir": str(folder),
        "id": name,
        "name": " · ".join(filter(None, [tracking.sweep, tracking.recipe])),
        "job_type": "table",
        "tags": tracked.tag_names([tracking.sweep, tracking.recipe, "SMOKE" * tracking.smoke, *tracking.tags]),
        "notes": tracking.notes,
    }
    try:
        run = start(tracking.mode, arguments, system=False, tell=tell)
        try:
            _upload_files(run, tracking, name, paths)
        finally:
            run.finish()
    except Exception as error:
        tell(f"the table is not on W&B ({first_line(error)})")


def _upload_files(run: Any, tracking: Tracking, name: str, paths: Mapping[str, Path]) -> None:
    import wandb

    run.summary.update({tracked.CELL: json.dumps({"table": tracking.sweep})})
    files = wandb.Artifact(f"table-{name}", type="table")
    for path in paths.values():
        files.add_file(str(path), path.name)
    run.log_artifact(files)
    figure = next((path for path in paths.values() if path.suffix == ".png"), None)
    if figure is not None:
        run.log({"figure": wandb.Image(str(figure), caption=tracking.sweep)})
