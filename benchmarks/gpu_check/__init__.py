"""Checks and measures PSSA's Triton kernels in one short visit to a GPU: `python -m benchmarks.gpu_check`.

A variant of the kernels cuts maps into other tiles or adds sums in another order, which may change the last digits of
results. No run uses a variant. A variant that wins can become the default once the id of a run tells the two apart.
"""
