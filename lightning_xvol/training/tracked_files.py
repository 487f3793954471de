"""Files of a run as W&B artifacts, for `--wandb-artifacts`.

An offline run keeps its artifacts in W&B's own data folder (`WANDB_DATA_DIR`) until `wandb sync` uploads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_xvol.ledger.checkpoints import list_checkpoints


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
