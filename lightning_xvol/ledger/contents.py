"""What the data of a run are, beyond their name: a digest, and the facts that messages and captions need.

A record holds the contents of its data as `data`, and the folder of a run that is not finished holds them as
`data.json`:

| key | meaning |
| --- | --- |
| `digest` | two runs of one configuration see the same data if and only if their digests are equal |
| `by` | what was digested: `pixels`, `files`, `generator`, `items` (their number alone), `own` (the class said it) |
| `classes` | the number of classes |
| `train`, `validation`, `test` | the number of images of each split, after `data.limit`; `test` may be null |
| `drawn_from` | the numbers of images in the official splits, if the run draws its own splits from them |
| `image_ids` | COCO only: the number of images, the first and the last id of each annotation file |
| `folder` | where the files were; it is no part of the digest |

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, files

FILE = "data.json"
DIGEST_LENGTH = 16
SPLITS = ("train", "validation", "test")
SHAPE = checks.fields(
    {"digest": checks.text},
    dict.fromkeys(("by", "folder"), checks.optional(checks.text))
    | dict.fromkeys(("classes", *SPLITS), checks.optional(checks.count)),
)
"""The contents as a record holds them."""


def generated(config: DataConfig) -> dict[str, Any] | None:
    """The contents of a set that is computed, from its generator's version and options; None for any other set."""
    version = registry.lookup("data", config.name).generator
    if version is None:
        return None
    facts = [config.name, version, registry.resolve_options("data", config.name, config.options), config.limit]
    return {"digest": digest_of(json.dumps(facts, sort_keys=True)), "by": "generator", "version": version}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def begun_on(folder: Path) -> dict[str, Any] | None:
    """The contents of the data that the unfinished run in `folder` has seen; None for a run without a checkpoint."""
    if not any((folder / "checkpoints").glob("step=*.ckpt")):
        return None
    contents = files.read_json(folder / FILE)
    return None if checks.problems(contents, checks.plain, SHAPE) else contents


def check(before: Mapping[str, Any] | None, now: Mapping[str, Any], config: DataConfig, where: str) -> None:
    """Refuse to go on with other data. `where` names the run that has seen `before`, which is None in old records.

    Raises:
        UserError: where the digests differ; the sentence names both data.
    """
    if before is not None and before.get("digest") != now["digest"]:
        raise UserError(
            f"{where} was made on {describe(before, config)}, and here are {describe(now, config)}; name the first "
            "data with --data-dir, or give these another --out"
        )


def describe(contents: Mapping[str, Any], config: DataConfig) -> str:
    """The contents in a few words: `imagenet with 2 classes, 40 + 10 images in '/data' (digest 0123456789abcdef)`."""
    parts = [config.name]
    if contents.get("classes") is not None:
        parts.append(f"with {contents['classes']} classes, {_images(contents)} images")
    if contents.get("folder") is not None:
        parts.append(f"in {str(contents['folder'])!r}")
    if contents.get("version") is not None:
        parts.append(f"of generator version {contents['version']}")
    return f"{' '.join(parts)} (digest {contents.get('digest')})"


def _images(contents: Mapping[str, Any]) -> str:
    return " + ".join(str(contents[split]) for split in SPLITS if contents.get(split) is not None)


def label(config: Mapping[str, Any], contents: Mapping[str, Any] | None) -> str:
    """The name of data in captions: what the set is called, unless its contents are known to be another set.

    `config` is the section `data` of a recorded configuration.

    Raises:
        UserError: for a data set that does not exist.
    """
    own = (config.get("options") or {}).get("label")
    name = str(config.get("name"))
    registered = registry.lookup("data", name)
    if name == "folder" and own:
        return str(own)
    if contents is None or not differs(config, contents):
        return registered.label
    return f"{contents.get('classes')} classes, {_images(contents)} images in the layout of {registered.label}"


def differs(config: Mapping[str, Any], contents: Mapping[str, Any]) -> bool:
    """Whether `contents` are known not to be the set that `config`, a section `data`, names."""
    expected = registry.lookup("data", str(config.get("name"))).facts
    drawn_from = contents.get("drawn_from")
    official = {**contents, **drawn_from} if isinstance(drawn_from, Mapping) else contents
    limit = config.get("limit") if official is contents else None  # which cuts the splits that are drawn
    for key, value in expected.items():
        found = official.get(key)
        wanted = min(value, limit) if key in SPLITS and limit is not None else value
        if found != wanted:
            return True
    return False
