"""The operators of the property suite: all registered ones in all their forms, or those of `--operator`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from lightning_xvol.config import registry
from lightning_xvol.kernels.spec import FORMS
from lightning_xvol.operators import build_operator
from tests.threads import one_thread as one_thread


@dataclass(frozen=True)
class Case:
    """An operator by name with the options of one test."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, in_channels: int = 6, out_channels: int = 12, stride: int = 1) -> nn.Module:
        """The operator, the same every time. Parameters that start at zero become random, to have an effect."""
        torch.manual_seed(0)
        operator = build_operator(self.name, in_channels, out_channels, stride, **self.options)
        for parameter in operator.parameters():
            if not parameter.any():
                nn.init.normal_(parameter)
        return operator

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])


def cases(names: list[str]) -> list[Case]:
    """Every operator at its defaults; where it has the options, in each form, with positions, without softmax."""
    result = []
    for name in names:
        options = registry.lookup("operator", name).options
        forms = FORMS if "form" in options else {}
        result += [Case(name, {"form": form}) for form in forms] or [Case(name)]
        if "position_encoding" in options:
            result.append(Case(name, {"position_encoding": True}))
        if "softmax" in options:
            result.append(Case(name, {"softmax": False}))
    return result


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--operator")
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(chosen or list(registry.OPERATORS)), ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--operator` only the property suite runs."""
    if config.getoption("--operator"):
        chosen = [item for item in items if "case" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
