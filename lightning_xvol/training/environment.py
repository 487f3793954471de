"""The environment of a run: versions, device and commit. It is recorded with the results and is no part of any id."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightning_xvol.config import libraries, registry
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.ledger import files
from lightning_xvol.surroundings.programs import output_of

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy")
ARITHMETIC = (
    "ATEN_", "CUBLAS", "CUDNN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "NVIDIA_TF32_OVERRIDE", "OMP_", "ONEDNN_",
    "OPENBLAS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_",
)  # fmt: skip
"""Variables whose names begin so choose the kernels of libraries, as another processor does. They are recorded."""


def describe(config: RunConfig) -> dict[str, str]:
    """Versions of the packages that compute, the device, and a hash of every source file named by an import path.

    The version of the backbone's library stands beside them, if it has one (`timm:resnet50`). `variables` lists
    the variables of `ARITHMETIC` that are set.
    """
    import torch

    facts = {"python": platform.python_version(), "platform": platform.system().lower()}
    for package in PACKAGES:
        try:
            facts[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            facts[package.replace("-", "_")] = "unknown"
    facts |= libraries.versions(config.backbone.name)
    chosen = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(ARITHMETIC)]
    if chosen:
        facts["variables"] = " ".join(chosen)
    facts["device"] = device_name("cuda" if torch.cuda.is_available() else "cpu")
    for kind in registry.KINDS:
        name = getattr(config, kind).name
        if not registry.is_known(kind, name):
            source = inspect.getsourcefile(inspect.unwrap(registry.load(kind, name)))
            if source is not None:
                facts[f"source {name}"] = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16]
    return facts


def device_name(kind: str) -> str:
    """The model of the `cuda` device or of the processor, `cpu (AMD EPYC)`."""
    import torch

    return torch.cuda.get_device_name() if kind == "cuda" else f"cpu ({_processor()})"


def _processor() -> str:
    try:
        for line in files.read_text(Path("/proc/cpuinfo")).splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def commit() -> str | None:
    """The commit of the checkout, with `-dirty` if tracked files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    head = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if not head or changes is None else f"{head}-dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    # Hooks of git set GIT_DIR and others, which lead to another repository. A status must not rewrite the user's index,
    # nor start the file watcher that a configuration may name.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    answer = output_of(command, timeout=10, without=["GIT_"])
    return None if answer is None else answer.strip()
