"""What a trained network looks at, computed and drawn apart.

`places`, `receptive_field`, `dynamic_kernel` and `tap_weights` compute arrays and know nothing of figures; `draw` has
functions that take arrays and optional axes and return the axes; `figure` puts them on one page with a caption.
`structure` reads boxes off the modules of an operator, trained or not, `layout` draws them, and `diagrams` makes the
paper's Fig. 1, 2 and 4 of them.
matplotlib is imported when something is drawn, and the package does not require it.
"""
