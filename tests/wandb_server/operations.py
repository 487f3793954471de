"""GraphQL by the name of the operation. The client's documents are fixed, so one answer for each is enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.wandb_server.store import Store

Answer = Callable[[Store, Mapping[str, Any], str], dict[str, Any]]

OPERATIONS: dict[str, Answer] = {}
_NAME = re.compile(r"\b(?:query|mutation)\s+(\w+)")


class NotServed(Exception):
    """The client asks for an operation that this server does not know: it has probably changed."""


def operation(*names: str) -> Callable[[Answer], Answer]:
    """Register a function of (store, variables, document) that returns the `data` of these operations."""

    def register(answer: Answer) -> Answer:
        OPERATIONS.update(dict.fromkeys(names, answer))
        return answer

    return register


def name_of(document: str) -> str:
    found = _NAME.search(document)
    return found.group(1) if found else ""


def answer(store: Store, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` that answers a document.

    Raises:
        NotServed: if no function is registered for its operation.
    """
    name = name_of(document)
    if name not in OPERATIONS:
        raise NotServed(name)
    return OPERATIONS[name](store, variables, document)
