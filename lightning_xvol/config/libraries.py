"""Backbones named after a network of a library, `timm:resnet50` or `torchvision:resnet50`. Nothing here imports torch.

Such a name is no import path: it runs only the library's own code. So a file may name it without `--trust`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from lightning_xvol.errors import UserError

FACTORIES = {
    "timm": "lightning_xvol.backbones.libraries:from_timm",
    "torchvision": "lightning_xvol.backbones.libraries:from_torchvision",
}
"""For each library the function that builds a network from its name in the library."""
OPTIONS: Mapping[str, object] = {"stem": "imagenet"}
"""The options of every such backbone, with their defaults."""


def split(kind: str, name: str) -> tuple[str, str] | None:
    """`("timm", "resnet50")` for the backbone `timm:resnet50`; None for any other name, or another `kind`."""
    library, colon, network = name.partition(":")
    return (library, network) if kind == "backbone" and colon and library in FACTORIES else None


def versions(backbone: str) -> dict[str, str]:
    """The version of the library that makes `backbone`, by the library's name; nothing for any other backbone.

    Raises:
        UserError: if the library is not installed.
    """
    named = split("backbone", backbone)
    if named is None:
        return {}
    try:
        return {named[0]: importlib.metadata.version(named[0])}
    except importlib.metadata.PackageNotFoundError:
        raise missing(backbone) from None


def missing(backbone: str) -> UserError:
    """The error for a library that is not installed."""
    library = backbone.partition(":")[0]
    return UserError(f"backbone {backbone!r} needs {library}, which is not installed: pip install {library}")


def check_versions(before: Mapping[str, str], backbone: str, where: str) -> None:
    """Refuse to go on under another version of the library: it may build another network under the same name.

    Args:
        before: the `versions` of the run so far. Older runs have none.
        backbone: the name of the backbone.
        where: names the run.

    Raises:
        UserError: where the versions differ. Labels of a build, such as `+cpu`, do not count.
    """
    for library, now in versions(backbone).items():
        then = before.get(library, now)
        if then.partition("+")[0] != now.partition("+")[0]:
            raise UserError(
                f"{where} was begun with {library} {then}, and here is {now}, which may build another network as "
                f"{backbone!r}; pip install {library}=={then.partition('+')[0]}, or begin again with another --out"
            )
