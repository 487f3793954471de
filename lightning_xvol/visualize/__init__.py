"""What a trained network looks at, the structure of an operator, and the architecture of a network.

For `python -m lightning_xvol visualize`: `dynamic_kernel` and `tap_weights` compute arrays, and so does
`lightning_xvol.backbones.receptive_field`. `content` collects the arrays of one figure. `draw` has one function per
panel, which takes arrays and optional axes and returns the axes. `figure` puts the panels on one page with a caption.
`images` reads the pictures.

For `diagram`: `structure` turns the modules of an operator into boxes, `layout` draws boxes, and `diagrams` draws the
paper's Fig. 1, 2 and 4 with them.

For `describe`: `architecture` lists stages, layers and costs, as the paper's Table 5 does.

Drawing imports matplotlib, which the package does not require.
"""
