# PYTHON_ARGCOMPLETE_OK
"""Tables 1 to 3: every operator in the same stages (paper 4.2 and 4.3).

`multi_convolution`, the second row of Table 2, is the convolution branch of X-volution alone.
"""

from __future__ import annotations

from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from ablations.rows import CONTROLS, configure, labelled, with_controls

PAPER = (
    *("convolution", "multi_convolution", "aa_convolution", "involution", "self_attention", "pssa"),
    *("xvolution", "xvolution_sa", "xvolution_inv"),
)

SWEEP = Sweep(
    name="operator",
    title="Operators",
    reproduces="Tables 1-3",
    rows=labelled(*with_controls(PAPER)),
    configure=configure,
    baseline="convolution",
    controls=CONTROLS,
    figure="dots",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
