"""The metrics that tables report, by the task. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """The metric that tables report for a task, in percent.

    Attributes:
        name: its name in records.
        label: its name in tables and figures.
        secondary_metrics: further metrics that tables show, by name with their labels.
        only_in_csv: metrics that are too many for a table and stand in its CSV alone.
    """

    name: str
    label: str
    secondary_metrics: Mapping[str, str] = field(default_factory=dict)
    only_in_csv: tuple[str, ...] = ()

    def on_validation(self) -> Metric:
        """The same on the validation split, in runs that keep a test split for the end."""
        names = {validation_name(name): f"validation {label}" for name, label in self.secondary_metrics.items()}
        return Metric(validation_name(self.name), f"validation {self.label}", names)


def _precision(kind: str) -> dict[str, str]:
    names = {"ap50": "AP50", "ap75": "AP75", "ap_s": "AP_S", "ap_m": "AP_M", "ap_l": "AP_L"}
    return {f"{kind}_{name}": f"{label} {kind}" for name, label in names.items()}


METRICS = {
    "classification": Metric("top1", "top-1 accuracy (%)"),
    "regression": Metric(
        "explained_beyond_static",
        "variance explained beyond a static 1x1 (%)",
        {"explained_variance": "variance explained in all (%)", "reach": "reach (pixels)"},
    ),
    "detection": Metric("box_ap", "box AP", _precision("box")),
    "segmentation": Metric("mask_ap", "mask AP", {**_precision("mask"), "box_ap": "AP box"}, tuple(_precision("box"))),
}
"""The metric of each task (`lightning_xvol.training.tasks`)."""


def validation_name(metric: str) -> str:
    """The name of `metric` on the validation split, in runs that keep a test split for the end."""
    return f"val_{metric}"
