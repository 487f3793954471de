"""The spatial convolutions of the operators, whose weight gradient has a form for small maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_xvol.config.weight_gradient import live_taps_win
from lightning_xvol.kernels.live_taps import Grid, convolution
from lightning_xvol.kernels.plain import plain_wanted


class SpatialConv2d(nn.Conv2d):
    """`nn.Conv2d` with a square kernel and "same" zero padding; the map keeps its size at stride 1.

    Its weights, its output and the gradient of its input are those of `nn.Conv2d`. Where `live_taps_win` says so, the
    weight gradient is one product per live tap (`lightning_xvol.kernels.live_taps`). This form runs on a CPU in float32
    and float64, and on request in bfloat16 under autocast. It differs from PyTorch's in the last digits. Second
    derivatives, forward mode, `torch.func`, compilers and exports use PyTorch's form.

    Attributes:
        live_taps: whether live taps may be used outside autocast.
        live_taps_bfloat16: whether they may be used under autocast to bfloat16.
    """

    live_taps = True
    live_taps_bfloat16 = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)

    def _get_name(self) -> str:
        return "Conv2d"  # what it is in printed models and messages

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.takes_live_taps(input, weight):
            grid = Grid(self.stride[0], int(self.padding[0]), self.dilation[0])
            if torch.is_autocast_enabled("cpu") and input.dtype != torch.float64:
                input, weight = input.bfloat16(), weight.bfloat16()
            return convolution(input, weight, grid)
        return super()._conv_forward(input, weight, bias)

    def takes_live_taps(self, x: Tensor, weight: Tensor) -> bool:
        """Whether the gradient of `weight` is computed tap by tap for this `x`."""
        return (
            torch.is_grad_enabled()
            and weight.requires_grad
            and not plain_wanted()
            and not torch.jit.is_tracing()
            and x.dim() == 4
            and x.device.type == "cpu"
            and self._may_compute_in(x.dtype, weight.dtype)
            and self._is_as_built()
            and self._wins(x, weight)
        )

    def _may_compute_in(self, of_x: torch.dtype, of_weight: torch.dtype) -> bool:
        """Whether live taps may be used for an input and a weight of these types, under the autocast that is on."""
        if of_x == of_weight == torch.float64:  # autocast does not change float64
            return self.live_taps
        if torch.is_autocast_enabled("cpu"):
            types = {of_x, of_weight, torch.get_autocast_dtype("cpu")}
            return self.live_taps_bfloat16 and types <= {torch.float32, torch.bfloat16}
        return self.live_taps and of_x == of_weight == torch.float32

    def _wins(self, x: Tensor, weight: Tensor) -> bool:
        channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        height, width = x.shape[2:]
        return live_taps_win(self.kernel_size[0], self.dilation[0], self.in_channels, height, width, channels_last)

    def _is_as_built(self) -> bool:
        """Whether nobody has changed a setting or added a bias."""
        same = self.dilation[0] * (self.kernel_size[0] // 2)
        pairs = (self.kernel_size, self.stride, self.dilation)
        return (
            all(pair == (pair[0],) * 2 for pair in pairs)
            and self.padding == (same, same)
            and (self.groups, self.padding_mode, self.bias) == (1, "zeros", None)
        )


def use_live_taps(network: nn.Module, wanted: bool, bfloat16: bool = False) -> None:
    """Choose for every spatial convolution of `network` whether its weight gradient may be computed tap by tap.

    Args:
        network: The network, which is changed in place.
        wanted: Whether this is so outside autocast.
        bfloat16: Whether this is so under autocast to bfloat16.
    """
    for module in network.modules():
        if isinstance(module, SpatialConv2d):
            module.live_taps, module.live_taps_bfloat16 = wanted, bfloat16
