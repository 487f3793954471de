# PYTHON_ARGCOMPLETE_OK
"""Table 4: PSSA and X-volution without and with relative position encoding (paper 4.3.3).

The encoding of PSSA is a bias per tap, added to the product of query and key. It starts at 0, so that rows with and
without it differ in nothing else. A row with it has two controls: the same row without the encoding, which is the
question of Table 4, and the static row, which has no product to add a bias to.
"""

from __future__ import annotations

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

SUFFIX = "_position"


def configure(recipe: Recipe, row: str) -> RunConfig:
    options = {"position_encoding": True} if row.endswith(SUFFIX) else {}
    return rows.configure(recipe, row.removesuffix(SUFFIX), **options)


LABELS = rows.labelled("convolution", "pssa", "pssa_static", "xvolution", "xvolution_static")

SWEEP = Sweep(
    name="position_encoding",
    title="Relative position encoding",
    reproduces="Table 4",
    rows={
        "convolution": LABELS["convolution"],
        "pssa": LABELS["pssa"],
        "pssa_position": f"{LABELS['pssa']}, position",
        "pssa_static": LABELS["pssa_static"],
        "xvolution": LABELS["xvolution"],
        "xvolution_position": f"{LABELS['xvolution']}, position",
        "xvolution_static": LABELS["xvolution_static"],
    },
    configure=configure,
    baseline="convolution",
    controls={
        **rows.CONTROLS,
        "pssa_position": ("pssa", "pssa_static"),
        "xvolution_position": ("xvolution", "xvolution_static"),
    },
    figure="dots",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
