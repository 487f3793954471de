"""`--cell ID` of a ledger whose cell has classes by import path that no flag names: they need `--trust`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_xvol.config import registry
from lightning_xvol.config.imports import FromFile, importable
from lightning_xvol.config.schema import from_record
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files
from lightning_xvol.ledger.record import cell_folder


def stored_paths(out: Path, prefix: str, trust: bool) -> Sequence[tuple[str, str]]:
    """The settings, as of `--set`, that name the classes of the first cell in `out` whose id begins with `prefix`.

    Nothing if there is no such cell, if its configuration cannot be read, or if all its names are registered.

    Raises:
        UserError: for an import path in a ledger that is not trusted.
    """
    found = sorted(path for path in cell_folder(out, "").glob("*/config.yaml") if path.parent.name.startswith(prefix))
    if not found or not found[0].is_file():
        return []
    import yaml

    try:
        config = from_record(yaml.safe_load(files.read_bytes(found[0])), source=repr(str(found[0])))
    except (OSError, UserError, yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError):
        return []  # of another version, or damaged: it is no cell of this sweep
    if not trust:
        importable(config)
    names = ((kind, getattr(config, kind).name) for kind in registry.KINDS)
    return [(f"{kind}.name", str(name)) for kind, name in names if isinstance(name, FromFile)]
