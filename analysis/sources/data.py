"""The data of the runs of a table: they are one set, and captions call it what it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.sources.frame import SweepLayout
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents


def check_same(name: str, results: Iterable[Mapping[str, Any]]) -> None:
    """Check that the runs of `results` that have one configuration of data have seen the same data.

    Older records do not tell. `name` says whose runs they are.

    Raises:
        UserError: where they have not; the sentence names both data.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for result in results:
        config, found = _data_of(result)
        if found is None:
            continue
        shared = {key: value for key, value in config.items() if key not in ("workers", "batch_size")}
        before = first.setdefault(json.dumps(shared, sort_keys=True), result)
        other = before["data"]
        if other["digest"] != found["digest"]:
            called = DataConfig(str(config.get("name")))
            raise UserError(
                f"{name} mixes data: cell {before['cell_id']} was made on {contents.describe(other, called)}, cell "
                f"{result['cell_id']} on {contents.describe(found, called)}; keep their runs in two ledgers"
            )


def with_true_name(sweep: SweepLayout, results: Iterable[Mapping[str, Any]]) -> SweepLayout:
    """`sweep`, whose data are called by what they hold where a record tells that they are not the set of that name."""
    for result in results:
        config, found = _data_of(result)
        if found is not None:
            with contextlib.suppress(UserError):  # a data set of another version
                if contents.differs(config, found):
                    return dataclasses.replace(sweep, data=contents.label(config, found))
    return sweep


def _data_of(result: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The data in the configuration of a record, and their contents."""
    config, found = (result.get("config") or {}).get("data"), result.get("data")
    if isinstance(config, dict) and isinstance(found, dict) and "digest" in found:
        return config, found
    return {}, None
