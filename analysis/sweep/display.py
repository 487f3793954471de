"""`--only`: the rows and columns of a table that are shown. Statistics are always those of the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lightning_xvol.commandline import row_named
from lightning_xvol.errors import UserError, nearest


def shown(summary: pd.DataFrame, axes: Sequence[str], only: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows of `summary` whose `operator` and axes have the values in `only`.

    Raises:
        UserError: for an unknown key, a value that no row has, or where nothing is left.
    """
    keys = ("operator", *axes)
    kept = summary
    for key, values in only.items():
        if key not in keys:
            raise UserError(f"--only {key}: no such key{nearest(key, keys)}; keys: {', '.join(keys)}")
        present = dict.fromkeys(map(str, summary[key]))
        wanted = [row_named(value, present) if key == "operator" else value for value in values]
        for value, found in zip(values, wanted, strict=True):
            if found not in present:
                raise UserError(
                    f"--only {key}={value} selects nothing{nearest(value, present)}; values: {', '.join(present)}"
                )
        kept = kept[kept[key].map(str).isin(wanted)]
    if kept.empty:
        raise UserError(f"--only {describe(only)} shows nothing; no row of the table has all these values")
    return kept


def describe(only: Mapping[str, Sequence[str]]) -> str:
    """`operator=convolution,xvolution kernel_size=3`."""
    return " ".join(f"{key}={','.join(values)}" for key, values in only.items())


def note(only: Mapping[str, Sequence[str]], count: int, of: int) -> str:
    """The footnote of a table that shows `count` of its `of` groups; empty where it shows all."""
    if not only:
        return ""
    return (
        f"Shown: {count} of {of} groups (--only {describe(only)}); intervals and p are those of the whole table, so "
        "hiding rows changes none."
    )
