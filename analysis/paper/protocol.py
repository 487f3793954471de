"""What a run optimises, whatever it is computed on: by this, not by fingerprints, runs stand on the paper's protocol.

Two runs of one optimisation have the same operator, network, detector, data, batch size, optimizer, budget and
precision. How many processes, accumulated steps and threads share a batch, how tensors lie in memory and whether the
network is compiled (`COMPUTE`) make other fingerprints and other weights, but no other protocol. Batch norms that are
not frozen see the images of one process and step; the paper does not say how many that were.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from lightning_xvol.config.schema import MemoryFormat, RunConfig, flat, from_dict, resolve, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record
from lightning_xvol.ledger.origins import papers_pretraining

COMPUTE = ("devices", "accumulate", "threads", "memory_format", "compile")
"""The fields of `train` that say how the same optimisation is computed."""
LAYOUTS = get_args(MemoryFormat)
THREADS = 64
"""The most of a process with which the paper's pre-training is known by its group id."""
PAPERS = "the paper's"
_ABSENT = object()


def optimisation(config: RunConfig) -> dict[str, Any]:
    """The canonical configuration of a group without `COMPUTE`; equal for two runs of one optimisation.

    A detector's origin that is the paper's pre-training of the same operator and backbone is `PAPERS`, whatever that
    was computed on.
    """
    values = record.canonical(config)
    del values["seed"]
    values["train"] = {name: value for name, value in values["train"].items() if name not in COMPUTE}
    detector = values.get("detector", {})
    if "origin" in detector and _is_papers(detector["origin"], config):
        detector["origin"] = PAPERS
    return values


def identity(config: RunConfig) -> str:
    """A fingerprint of `optimisation`."""
    return record.fingerprint(optimisation(config))


def identities(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The identity of each of `configs`, as records hold them; those that another version made have none here."""
    found = {}
    for key, values in configs.items():
        with contextlib.suppress(UserError):
            found[key] = identity(from_dict(values))
    return found


def differences(
    config: RunConfig, other: RunConfig, view: Callable[[RunConfig], Mapping[str, Any]] = optimisation
) -> dict[str, str]:
    """Where `view` tells `config` from `other`, in the values of `config`: `optim.lr` -> `optim.lr=0.2`."""
    own, others = (flat(view(each), ".") for each in (config, other))
    values = flat(to_dict(resolve(config)), ".")
    paths = [path for path in values if own.get(path, _ABSENT) != others.get(path, _ABSENT)]
    return {path: f"{path}={_text(values[path])}" for path in paths}


def _text(value: Any) -> str:
    """As `--set` takes it."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _is_papers(origin: str, config: RunConfig) -> bool:
    pretraining = papers_pretraining(config)
    if origin == record.group_id(pretraining):
        return True
    values = record.canonical(pretraining)
    del values["seed"]
    return origin in _groups(json.dumps(values))


@functools.cache
def _groups(configuration: str) -> frozenset[str]:
    """The group ids of a canonical configuration over all of `COMPUTE`: any split of its batch, 1 to 64 threads.

    An id is a hash and cannot be read, so all are made, some 11,000: the configuration is written once, with a mark for
    each field, and the values are put in the text.
    """
    values = json.loads(configuration)
    values["train"] |= {name: f"<{name}>" for name in COMPUTE}
    marked = record.as_text(values)
    batch = values["data"]["batch_size"]
    splits = [
        {"devices": devices, "accumulate": parts // devices}
        for parts in range(1, batch + 1) if batch % parts == 0
        for devices in range(1, parts + 1) if parts % devices == 0
    ]  # fmt: skip
    how = [{"memory_format": layout, "compile": compiled} for layout in LAYOUTS for compiled in (False, True)]
    threads = [{"threads": number} for number in range(1, THREADS + 1)]
    texts = [marked]
    for choices in (splits, how, threads):
        texts = [_with(text, choice) for text in texts for choice in choices]
    return frozenset(hashlib.sha256(text.encode()).hexdigest()[: record.ID_LENGTH] for text in texts)


def _with(text: str, choice: Mapping[str, Any]) -> str:
    for name, value in choice.items():
        text = text.replace(f'"<{name}>"', json.dumps(value))
    return text
