"""The variants of the Triton kernels, and the script that tries them, in Triton's interpreter.

`test_triton.py` runs this file in a separate process, as it does `interpreted.py`.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from attention_cases import CL, NCHW, TOLERANCE, Case, attention, errors, results

from benchmarks.gpu_check import measured, variants
from lightning_xvol.kernels import tiles
from lightning_xvol.kernels.tiles import SHIPPED, Variant, use

# Tiles that are smaller than the map and leave it on both sides, and more tiles than runs.
RAGGED = Variant(tile=(2, 4), runs=3)
SMALL_VARIANTS = {
    "tiles": RAGGED,
    "position sums": Variant(position_sums=True, thread_bytes=4, thread_entries=1, warps=1, warps_of_heads=1, runs=2),
    "split": Variant(split=True),
    "split tiles with position sums": Variant(tile=(4, 2), runs=2, position_sums=True, split=True),
    "converted": Variant(converts=True),
}
# The channels are no power of two, and a distance of 5 leaves the map on most sides.
SMALL_CASES = (
    Case("dot", (3, 7), 6, 2, static=True, distances=(5,), batch=1),
    Case("hadamard", (3, 6), 3, stride=2, centre=True, distances=(5,), formats=(CL, CL, CL)),
)
GRID = tuple(
    Case(form, channels=channels, heads=heads, formats=(memory_format,) * 3, **options)
    for (form, channels, heads), options, memory_format in itertools.product(
        (("dot", 6, 2), ("dot", 5, 1), ("hadamard", 3, 1)),
        (
            {"size": (5, 17), "static": True, "batch": 1},
            {"size": (5, 17), "stride": 2, "distances": (2,), "centre": True},
            {"size": (1, 1), "distances": (2,)},
        ),
        (NCHW, CL),
    )
)


@pytest.mark.parametrize("case", SMALL_CASES, ids=str)
@pytest.mark.parametrize("name", SMALL_VARIANTS)
def test_equal_to_the_literal_reference(name: str, case: Case) -> None:
    with use(SMALL_VARIANTS[name]):
        assert max(errors(case).values()) < TOLERANCE[case.dtype]


@pytest.mark.slow
@pytest.mark.parametrize("case", GRID, ids=str)
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_of_the_script_is_equal_to_the_literal_reference(name: str, case: Case) -> None:
    with variants.use(name):
        assert max(errors(case).values()) < TOLERANCE[case.dtype]


@pytest.mark.parametrize("case", SMALL_CASES, ids=str)
def test_a_split_backward_has_the_same_bits_at_stride_1(case: Case) -> None:
    case = Case(**{**vars(case), "stride": 1})
    gradient = torch.randn(case.batch, case.channels, *case.size)
    together = results(attention(case), case.tensors(), gradient)
    with use(Variant(split=True)):
        apart = results(attention(case), case.tensors(), gradient)
    assert all(torch.equal(x, y) for x, y in zip(together, apart, strict=True))


def test_results_of_converted_maps_have_the_formats_of_the_maps() -> None:
    case = Case("dot", (3, 4), 6, 2, distances=(2,), formats=(NCHW, CL, NCHW))
    query, key, value, *tables = case.tensors()
    with use(SMALL_VARIANTS["converted"]):
        y, *gradients = results(attention(case), [query, key, value, *tables], torch.ones(2, 6, 3, 4))
    assert [x.stride() for x in (y, *gradients[:3])] == [x.stride() for x in (query, query, key, value)]


def test_the_shipped_variant_is_in_force_outside_and_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), use(RAGGED):
        _ = 1 / (tiles.in_force() is not RAGGED)
    assert tiles.in_force() is SHIPPED == Variant()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> measured.Bench:
    """Two variants on tiny maps in one memory format, and one launch for a time."""
    monkeypatch.setattr(measured, "VARIANTS", ["as shipped", "split"])
    monkeypatch.setattr(measured, "FORMATS", ["channels_last"])
    monkeypatch.setattr(variants, "DISTANCES", (1,))
    monkeypatch.setattr(variants, "HEADS", 1)
    return measured.Bench("cpu", (1, 2, 2, 3), launches=1, images=(2, 32))


def test_the_script_measures_every_variant_and_finds_the_fastest(bench: measured.Bench) -> None:
    assert [row["copy_gb_per_second"] >= 0 for row in measured.copy(bench)] == [True]
    rows = list(measured.sweep(bench))
    expected = itertools.product(("dot", "hadamard"), measured.VARIANTS, measured.MAPS)
    assert [(row["form"], row["variant"], row["pass"]) for row in rows] == list(expected)
    assert all(row["error"] < measured.TOLERANCE and row["ms"] > 0 and row["of_copy"] > 0 for row in rows)
    assert len(bench.fastest) == 2 and set(bench.fastest.values()) <= set(measured.VARIANTS)
    rows = list(measured.paths(bench))
    assert [row["path"] for row in rows[1:3]] == ["shifts", "reference"] and len(rows) == 6
    assert all(row["forward_ms"] > 0 and row["backward_ms"] > 0 for row in rows)


def test_a_variant_that_fails_is_a_row_and_never_the_fastest(
    bench: measured.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attend(form: str, *tensors: torch.Tensor) -> torch.Tensor:
        if tiles.in_force().split:
            raise RuntimeError("out of resources: shared memory\nand more")
        return measured._by_path("reference", form, *tensors) * (1 if form == "dot" else 2)

    monkeypatch.setattr(measured, "_attend", attend)
    rows = list(measured.sweep(bench))
    failures = [row["failure"] for row in rows if row["variant"] == "split"]
    assert failures == ["RuntimeError: out of resources: shared memory"] * 2
    assert {form for form, _ in bench.fastest} == {"dot"}, "the results of hadamard are wrong here"


@pytest.mark.slow
def test_the_script_measures_the_training_step(bench: measured.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)
    rows = list(measured.network(bench))
    assert [(row["network"], row["compiled"]) for row in rows] == [
        ("convolution", False), ("xvolution", False), ("convolution", True), ("xvolution", True)
    ]  # fmt: skip
    assert all(row["step_ms"] > 0 for row in rows)
