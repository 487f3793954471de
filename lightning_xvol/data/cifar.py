"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images [3, 32, 32].

The paper does not use them. Here they are an affordable stand-in for its ImageNet tables. The augmentation is the usual
one (He et al. 2016, section 4.2): 4 pixels of padding, a random 32x32 crop, a random horizontal flip.
"""

from __future__ import annotations

from lightning_xvol.data.torchvision_sets import TorchvisionData


class CIFAR10(TorchvisionData):
    """CIFAR-10; arguments as in `TorchvisionData`."""

    num_classes = 10
    image_shape = (3, 32, 32)
    source = "CIFAR10"
    layout = ("cifar-10-batches-py", "data_batch_1 ... data_batch_5, test_batch and batches.meta")
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)


class CIFAR100(TorchvisionData):
    """CIFAR-100 with its 100 fine labels; arguments as in `TorchvisionData`."""

    num_classes = 100
    image_shape = (3, 32, 32)
    source = "CIFAR100"
    layout = ("cifar-100-python", "train, test and meta")
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
