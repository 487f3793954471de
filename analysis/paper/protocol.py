"""Whether a run is on the paper's protocol: it is if it optimises the same (`record.optimisation_id`).

The machine that computed it does not matter. Batch norms that are not frozen see the images of one process and step;
the paper does not say how many images that were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.resolved import optimisation, resolve
from lightning_xvol.config.schema import RunConfig, flat, from_record, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents, record
from lightning_xvol.ledger.origins import with_papers_origin

PAPERS = "the paper's"
_ABSENT = object()


def identity(config: RunConfig) -> str:
    """The `optimisation_id` of `config`, also of a detector whose record is older than `origin_optimisation`."""
    return record.optimisation_id(_with_known_origin(config))


def _with_known_origin(config: RunConfig) -> RunConfig:
    """`config` with what its origin optimised, where that is the paper's pre-training as our recipe computes it."""
    papers = with_papers_origin(config)
    return papers if config.detector.origin == papers.detector.origin else config


def identities(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The identity of each of the records `results`; a record of another version may have none."""
    found = {}
    for key, result in results.items():
        with contextlib.suppress(UserError):
            found[key] = record.recorded_optimisation(result) or identity(from_record(result["config"]))
    return found


def comparable(config: RunConfig) -> dict[str, Any]:
    """What `config` optimises. The origin of a detector is `PAPERS` if its own classifier is the paper's."""
    config = _with_known_origin(config)
    values = optimisation(config)
    papers = with_papers_origin(config).detector.origin_optimisation
    if config.detector.pretraining == "own" and config.detector.origin_optimisation == papers:
        values["detector"]["origin"] = PAPERS
    return values


def differences(
    config: RunConfig, other: RunConfig, view: Callable[[RunConfig], Mapping[str, Any]] = comparable
) -> dict[str, str]:
    """The fields whose values differ in `view`, with the value of `config`: `optim.lr` -> `optim.lr=0.2`."""
    config = resolve(config)
    own, others = (flat(view(each), ".") for each in (config, other))
    values = flat(to_dict(config), ".")
    paths = [path for path in values if own.get(path, _ABSENT) != others.get(path, _ABSENT)]
    return {path: f"{path}={_text(values[path])}" for path in paths}


def other_data(config: Mapping[str, Any], found: Mapping[str, Any] | None) -> str | None:
    """Why data are not known to be the set that a recorded configuration names; None where they are that set.

    `found` are the contents of the data in the record. A set that is computed is what its name says.

    Raises:
        UserError: for a data set of another version.
    """
    data = config["data"]
    if not registry.lookup("data", data["name"]).facts:
        return None
    if found is None:
        return "data (not known, the record is older than their digest)"
    return f"data ({contents.label(data, found)})" if contents.differs(data, found) else None


def _text(value: Any) -> str:
    """`value` as `--set` takes it."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
