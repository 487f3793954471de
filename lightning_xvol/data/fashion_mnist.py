"""Fashion-MNIST (Xiao et al. 2017): 60,000 training and 10,000 test images [1, 28, 28] of clothes.

The paper does not use it. There is no standard augmentation. We use CIFAR's, as in Zhong et al. 2020 (Random Erasing):
4 pixels of padding, a random 28x28 crop, a random horizontal flip (a mirrored shoe keeps its class).
"""

from __future__ import annotations

from lightning_xvol.data.torchvision_sets import TorchvisionData


class FashionMNIST(TorchvisionData):
    """Fashion-MNIST; arguments as in `TorchvisionData`."""

    num_classes = 10
    image_shape = (1, 28, 28)
    source = "FashionMNIST"
    layout = ("FashionMNIST/raw", "the four unpacked files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...")
    mean = (0.2860,)
    std = (0.3530,)
