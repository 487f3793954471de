"""Claims of the paper that its own printed numbers contradict."""

from __future__ import annotations

from analysis import numbers
from analysis.paper.published import of_table

OWN = "contradicted by its own table"
STAGES = {3: (128, 4), 4: (256, 6), 5: (512, 3)}
"""Table 5: stage to the channels of its 3x3 convolution and the number of its blocks, in both backbones of Table 1."""


def added_parameters(stage: int) -> int:
    """28 C^2 per block: 25 C^2 of the dilated 5x5 (6.1.2) and 3 C^2 of query, key and value.

    Batch norms and tap weights are not counted.
    """
    channels, blocks = STAGES[stage]
    return (25 + 3) * channels**2 * blocks


def gain(table: int, backbone: str, label: str, setting: str, metric: str, other_setting: str | None = None) -> float:
    rows = of_table(table)
    other = setting if other_setting is None else other_setting
    ours, base = rows[backbone, label, setting], rows[backbone, "convolution", other]
    return round(ours[metric].value - base[metric].value, 6)


def stable_improvement() -> str | None:
    """Claim 3 says that X-volution gains in every stage of both networks."""
    found = {
        (backbone, stage): gain(1, backbone, "xvolution", f"stage{stage}", "top1", "")
        for backbone in ("ResNet-34", "ResNet-50")
        for stage in STAGES
    }
    losses = [
        f"{backbone} stage {stage}: {numbers.signed(value)}" for (backbone, stage), value in found.items() if value < 0
    ]
    return f"Table 1 prints {'; '.join(losses)} top-1." if losses else None


def parameters_to_blame() -> str | None:
    """Claim 5 blames parameters; then a stage that adds more, or as many in the other network, would lose too."""
    millions = {stage: added_parameters(stage) / 1e6 for stage in STAGES}
    gains = {stage: gain(1, "ResNet-50", "xvolution", f"stage{stage}", "top1", "") for stage in STAGES}
    other = gain(1, "ResNet-34", "xvolution", "stage4", "top1", "")
    if not (millions[5] > millions[4] and gains[5] > gains[4] and other > 0):
        return None
    listed = ", ".join(f"{millions[stage]:.1f} M in stage {stage} ({numbers.signed(gains[stage])})" for stage in STAGES)
    return (
        f"ResNet-50 gets {listed}; ResNet-34's stage 4 gets the same {millions[4]:.1f} M and {numbers.signed(other)}."
    )


def gain_grows() -> str | None:
    """Claim 18 says that the gain of X-volution over the convolution grows from 12 to 72 epochs."""
    epochs = (12, 24, 36, 72)
    gains = [gain(6, "ResNet-50", "xvolution", f"{number} epochs", "box_ap") for number in epochs]
    if gains == sorted(gains):
        return None
    listed = ", ".join(f"{numbers.signed(value)} at {number}" for number, value in zip(epochs, gains, strict=True))
    return f"Table 6: {listed} epochs."


BY_CLAIM = {3: stable_improvement, 5: parameters_to_blame, 18: gain_grows}
"""Number of a claim to a function that returns the arithmetic which contradicts it, or None."""
