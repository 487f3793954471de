"""`scaled_dot_product_attention`, whose gradients can be differentiated again whatever kernel PyTorch chooses.

PyTorch chooses the kernel by device, dtype and size. Only its plain one has a second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from lightning_xvol.kernels import reference
from lightning_xvol.kernels.plain import gradients, transformed

Inputs = tuple[Tensor | None, ...]


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`softmax(q k^T / sqrt(d) [+ b]) v`, with the shapes of `kernels.self_attention`."""
    if transformed():
        return reference.self_attention(query, key, value, bias)
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (query, key, value, bias))
    if torch.compiler.is_compiling() or not learns:
        return F.scaled_dot_product_attention(query, key, value, bias)
    y: Tensor = Attention.apply(query, key, value, bias)
    return y


class Attention(Function):
    """PyTorch's kernel with its own gradients. Under `create_graph=True` the gradients come from the plain formula."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.graph = _graph(inputs, ctx.needs_input_grad)
        y: Tensor = ctx.graph[1].detach()
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Inputs:
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad
        if torch.is_grad_enabled():
            return tuple(gradients(_plain, inputs, wanted, grad))
        # The first backward pass frees the graph of the kernel. A second one through it computes the graph again.
        graph, ctx.graph = ctx.graph or _graph(inputs, wanted), None
        learned = [x for x in graph[0] if x is not None and x.requires_grad]
        # An empty batch leaves the bias out of PyTorch's graph; its gradient is 0, as for any other tensor.
        found = iter(torch.autograd.grad(graph[1], learned, grad, materialize_grads=True))
        return tuple(next(found) if x is not None and x.requires_grad else None for x in graph[0])


def _graph(inputs: Inputs, wanted: tuple[bool, ...]) -> tuple[Inputs, Tensor]:
    """Copies of the inputs that start a graph of their own, and the output on this graph."""
    with torch.enable_grad():
        own: Any = [
            None if x is None else x.detach().requires_grad_(need) for x, need in zip(inputs, wanted, strict=True)
        ]
        return tuple(own), F.scaled_dot_product_attention(*own)


def _plain(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    return reference.self_attention(query, key, value, bias)
