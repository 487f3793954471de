"""A hash of weights, which is equal exactly if every tensor is bit-equal."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of the names, shapes, types and bytes in the state dict, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
