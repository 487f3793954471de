"""Everything that a GPU has to tell about PSSA's Triton kernels, in one short visit: `python -m benchmarks.gpu_check`.

A variant changes how maps are cut into tiles and in which order sums are added, and so perhaps the last digits of
results. No run uses a variant. What wins can become the default once the identity of a run tells the two apart.
"""
