"""Image classification as a LightningModule: cross entropy, SGD, top-1 and top-5 accuracy in percent."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.modules.base import SupervisedModule


class ClassificationModule(SupervisedModule):
    """Trains `network`, which maps images [B, C, H, W] to logits [B, num_classes].

    Metrics are `top1` and, with more than five classes, `top5`.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        *,
        num_classes: int,
        total_steps: int,
        has_test: bool = True,
    ) -> None:
        def metrics() -> dict[str, MulticlassAccuracy]:
            tops = [k for k in (1, 5) if k < num_classes]
            return {f"top{k}": MulticlassAccuracy(num_classes, top_k=k, average="micro") for k in tops}

        super().__init__(network, config, metrics=metrics, total_steps=total_steps, has_test=has_test)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)
