"""Converts values of configuration fields, from a command line, a file or Python, to their declared types."""

from __future__ import annotations

import ast
import json
import math
import types
from typing import Any, Literal, Union, get_args, get_origin

from lightning_xvol.errors import UserError


def literal(value: Any) -> Any:
    """The value of a text that is a Python literal, true, false, none or null, else the text; lists become tuples."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    named = {"true": True, "false": False, "none": None, "null": None}
    if value.lower() in named:
        return named[value.lower()]
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: deep brackets
        return value
    return tuple(parsed) if isinstance(parsed, list) else parsed


def storable(value: Any, path: str) -> Any:
    """Return `value` if YAML and JSON can hold it. Other values have no fingerprint. `path` names the field.

    Raises:
        UserError: for any other value.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}={value} must be a finite number, a text, true, false, none, or lists of those"
        ) from error
    return value


def convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint`, exactly: 2.5 is not cut to 2. `path` names the field.

    Raises:
        UserError: for a value of another type.
    """
    parsed = literal(value)
    origin = get_origin(hint)
    if origin is Literal:
        if parsed not in get_args(hint):
            raise UserError(f"{path}={value} must be one of {', '.join(map(str, get_args(hint)))}")
        return parsed
    if origin in (Union, types.UnionType):
        if parsed is None:
            return None
        return convert(next(arg for arg in get_args(hint) if arg is not type(None)), value, path)
    if origin is tuple:
        items = parsed if isinstance(parsed, tuple) else (parsed,)
        if get_args(hint)[0] is str and isinstance(parsed, str):
            items = tuple(word.strip() for word in parsed.split(",") if word.strip())
        return tuple(convert(get_args(hint)[0], item, path) for item in items)
    if hint is str:
        return value if isinstance(value, str) else str(value)  # str() would make a `FromFile` a text that is free
    if hint is float and isinstance(parsed, int) and not isinstance(parsed, bool) and abs(parsed) <= 2**53:
        return float(parsed)
    if type(parsed) is hint and (hint is not float or math.isfinite(parsed)):
        return parsed
    wanted = {int: "a whole number", float: "a finite number", bool: "true or false"}.get(hint, str(hint))
    raise UserError(f"{path}={value} must be {wanted}")
