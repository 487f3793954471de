"""The settings in which runs differ, and how tables name them. They come from the configurations in the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.resolved import Resolved, canonical, one_form, resolve
from lightning_xvol.config.schema import RunConfig, from_record, leaves, nested, set_value, stored_key
from lightning_xvol.ledger.tracked import value_text

Group = tuple[tuple[str, str], ...]
"""The settings of one `--set`: pairs of a field and its value."""

TRAINING_ALONE = ("data.batch_size", "data.workers", "data.options.augment", "data.options.flip")
"""The fields of `data` that change how a run trains, but not the images that it is measured on."""


def config_of(result: Mapping[str, Any]) -> Resolved:
    """The configuration in a record.

    Raises:
        UserError: for the configuration of another version.
    """
    return one_form(resolve(from_record(result["config"])))


def differing(configs: Sequence[Resolved]) -> dict[str, tuple[Any, ...]]:
    """The fields that change what a run computes and that differ in `configs`.

    Ids leave out a field that has its legacy value; here it is compared like any other. If `configs` name different
    operators, networks or data sets, only the names are compared, because each name has options of its own.

    Returns:
        The values of each such field by its path, in the order of `configs`.
    """
    identities = [_flat(canonical(config)) for config in configs]
    values = [_flat(nested(config)) for config in configs]
    paths = dict.fromkeys(path for identity in identities for path in identity if path != "seed")
    found = {
        path: tuple(flat.get(path) for flat in values)
        for path in paths
        if len({repr(identity.get(path)) for identity in identities}) > 1
    }
    renamed = [f"{kind}.options." for kind in registry.KINDS if f"{kind}.name" in found]
    return {
        path: own
        for path, own in found.items()
        if not path.startswith(tuple(renamed)) and len({repr(value) for value in own}) > 1
    }


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(leaves(values))


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """The name of each path in words: `lr`, `batch size`, `backbone`. Paths that end alike keep their section."""
    plain = {path: _words(path) for path in paths}
    names = list(plain.values())
    return {
        path: words if names.count(words) == 1 else f"{path.partition('.')[0]} {words}" for path, words in plain.items()
    }


def _words(path: str) -> str:
    section, _, field = path.partition(".")
    return section if field == "name" else field.removeprefix("options.").replace("_", " ")


def text_of(value: Any) -> str:
    return value_text(value) if value != "" else "empty"


def canonical_path(path: str) -> str:
    """The path of a field in records: `operator.num_heads` is `operator.options.num_heads`."""
    root, _, rest = path.partition(".")
    section: Any = getattr(RunConfig(), root, None)
    if not dataclasses.is_dataclass(section):
        return path
    fields = {item.name: stored_key(item) for item in dataclasses.fields(section)}
    is_field = rest in fields or rest in fields.values() or rest.startswith("options.")
    return f"{root}.{fields.get(rest, rest)}" if is_field else f"{root}.options.{rest}"


def with_settings(config: RunConfig, settings: Iterable[tuple[str, Any]]) -> Resolved:
    """`config` with `settings`, as `--set` sets them.

    Raises:
        UserError: for a field that it does not have, or a value of the wrong type.
    """
    for path, value in settings:
        config = set_value(config, path, value)
    return resolve(config)


def has(config: Resolved, group: Group) -> bool:
    """Whether `config` has the settings of `group`.

    Raises:
        UserError: as `with_settings`.
    """
    return with_settings(config, group).group_id == config.group_id


def described(group: Group) -> str:
    """`--set optim.lr=0.1 data.batch_size=32`."""
    return " ".join(["--set", *("=".join(pair) for pair in group)])
