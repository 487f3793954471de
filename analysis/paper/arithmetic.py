"""What the paper's own printed numbers say of its claims."""

from __future__ import annotations

from analysis import numbers
from analysis.paper.published import of_table

OWN = "contradicted by its own table"
# Table 5: channels of the 3x3 place and blocks of stage 3, 4, 5; Table 1's backbones share them.
PLACES = {3: (128, 4), 4: (256, 6), 5: (512, 3)}


def added_parameters(stage: int) -> int:
    """28 C^2 a block, batch norms and tap weights aside: the dilated 5x5 (6.1.2), and query, key and value."""
    channels, blocks = PLACES[stage]
    return (25 + 3) * channels**2 * blocks


def gain(table: int, backbone: str, label: str, setting: str, metric: str, other_setting: str | None = None) -> float:
    rows = of_table(table)
    other = setting if other_setting is None else other_setting
    ours, base = rows[backbone, label, setting], rows[backbone, "convolution", other]
    return round(ours[metric].value - base[metric].value, 6)


def stable_improvement() -> str | None:
    """Claim 3: a gain in every stage of both networks."""
    found = {
        (backbone, stage): gain(1, backbone, "xvolution", f"stage{stage}", "top1", "")
        for backbone in ("ResNet-34", "ResNet-50")
        for stage in PLACES
    }
    losses = [
        f"{backbone} stage {stage}: {numbers.signed(value)}" for (backbone, stage), value in found.items() if value < 0
    ]
    return f"Table 1 prints {'; '.join(losses)} top-1." if losses else None


def parameters_to_blame() -> str | None:
    """Claim 5: a stage that adds more parameters, or the same in the other network, would have to lose too."""
    millions = {stage: added_parameters(stage) / 1e6 for stage in PLACES}
    gains = {stage: gain(1, "ResNet-50", "xvolution", f"stage{stage}", "top1", "") for stage in PLACES}
    other = gain(1, "ResNet-34", "xvolution", "stage4", "top1", "")
    if not (millions[5] > millions[4] and gains[5] > gains[4] and other > 0):
        return None
    listed = ", ".join(f"{millions[stage]:.1f} M in stage {stage} ({numbers.signed(gains[stage])})" for stage in PLACES)
    return (
        f"ResNet-50 gets {listed}; ResNet-34's stage 4 gets the same {millions[4]:.1f} M and {numbers.signed(other)}."
    )


def gain_grows() -> str | None:
    """Claim 18: the gain of X-volution over the convolution from 12 to 72 epochs."""
    epochs = (12, 24, 36, 72)
    gains = [gain(6, "ResNet-50", "xvolution", f"{number} epochs", "box_ap") for number in epochs]
    if gains == sorted(gains):
        return None
    listed = ", ".join(f"{numbers.signed(value)} at {number}" for number, value in zip(epochs, gains, strict=True))
    return f"Table 6: {listed} epochs."


BY_CLAIM = {3: stable_improvement, 5: parameters_to_blame, 18: gain_grows}
"""The claims that printed numbers decide; each function gives the arithmetic where they contradict, else None."""
