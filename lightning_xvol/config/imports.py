"""Import paths, `package.module:Class`: who may name one, and what it must lead to. Nothing here imports torch.

To import a module is to run its code. A path that a person types, on a command line or in Python, is imported. A path
that a file names is not, unless that person trusts the file. A configuration from a file holds such a path as
`FromFile`. It stays one when the configuration is changed, resolved, copied or sent to another process, and
`import_class`, the one place that imports what a name stands for, refuses it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from lightning_xvol.errors import UserError

T = TypeVar("T")

_PATH = re.compile(r"[\w-]+(\.[\w-]+)*:[^\W\d]\w*")
_DATA_SET = ("num_classes", "image_shape", "train", "validation", "test")


class FromFile(str):
    """An import path that a file names and nobody typed.

    Attributes:
        source: the file, as messages name it.
    """

    source: str

    def __new__(cls, path: str, source: str) -> FromFile:
        made = super().__new__(cls, path)
        made.source = source
        return made

    def __reduce__(self) -> tuple[type[FromFile], tuple[str, str]]:
        return FromFile, (str(self), self.source)


def marked(value: Any, source: str, free: Collection[str] = ()) -> Any:
    """`value` with every import path in it, at any depth, as `FromFile` of `source`; those in `free` stay as they are.

    `value` is made of dataclasses, mappings, tuples, lists and plain values.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: marked(item, source, free) for name, item in fields.items()})
    if isinstance(value, Mapping):
        return {marked(key, source, free): marked(item, source, free) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(marked(item, source, free) for item in value)
    return FromFile(value, source) if isinstance(value, str) and _PATH.fullmatch(value) and value not in free else value


def texts(value: Any) -> Iterator[str]:
    """Every text in `value`, at any depth."""
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from texts(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from texts(pair)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from texts(item)


def importable(config: T) -> T:
    """`config`, if no file that is not trusted names an import path in it: asked before any other work.

    Raises:
        UserError: for such a path, with the file.
    """
    for text in texts(config):
        if isinstance(text, FromFile):
            raise _refusal(text)
    return config


def _refusal(path: FromFile) -> UserError:
    return UserError(
        f"{path.source} names the import path {str(path)!r}, and to import it is to run its code; add --trust "
        "(in Python trust=True) if you trust that file"
    )


def import_class(kind: str, path: str, registered: bool) -> Any:
    """Import the class or function at `path`. One of our own is taken as it is, another must be what `kind` asks for.

    Raises:
        UserError: for a `FromFile`, a path that leads nowhere, or an object that is not of that `kind`.
    """
    if isinstance(path, FromFile):
        raise _refusal(path)
    expected = f"cannot import {kind} {path!r}: {{}}; expected package.module:Class on the Python path"
    if not _PATH.fullmatch(path):
        raise UserError(expected.format("it is not an import path"))
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if registered:
            raise
        raise UserError(expected.format(error)) from error
    mistake = None if registered else _CONTRACTS[kind](found)
    if mistake is not None:
        raise UserError(f"{kind} {path!r} {mistake}")
    return found


def _operator_mistake(found: Any) -> str | None:
    return None if _is_module_class(found) else "is not a class that derives from torch.nn.Module"


def _backbone_mistake(found: Any) -> str | None:
    if _is_module_class(found) or {"num_classes", "in_channels"} <= _parameters(found):
        return None
    return (
        "is neither a class that derives from torch.nn.Module nor a function with the parameters num_classes and "
        "in_channels"
    )


def _data_mistake(found: Any) -> str | None:
    shown = "; lightning_xvol/data/base.py shows what is expected"
    if not isinstance(found, type):
        return f"is not a class{shown}"
    if all(callable(getattr(found, name, None)) for name in ("train", "validation", "test")):
        return None
    return f"lacks {', '.join(name for name in _DATA_SET if not hasattr(found, name))}{shown}"


_CONTRACTS: Mapping[str, Callable[[Any], str | None]] = {
    "operator": _operator_mistake,
    "backbone": _backbone_mistake,
    "data": _data_mistake,
}


def _is_module_class(found: Any) -> bool:
    torch = sys.modules.get("torch")  # loaded, if any such class exists
    return torch is not None and isinstance(found, type) and issubclass(found, torch.nn.Module)


def _parameters(found: Any) -> set[str]:
    try:
        return set(inspect.signature(found).parameters)
    except (TypeError, ValueError):  # not callable, or written in C
        return set()
