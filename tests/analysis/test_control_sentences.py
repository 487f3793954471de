"""The footnotes that compare a row with its control."""

from __future__ import annotations

from tests.analysis.test_sweep_table import SMALL, notes_of, table_of


def test_the_control_sentence_is_computed(make_ledger) -> None:
    sentences = {
        "is not resolved at 1 (a gain above 2.70 is excluded) and is above 0 at 3": [92.0, 91.8, 92.2],
        "is not resolved at 1 (a gain above 2.57 is excluded), 3 (any gain is excluded).": [99.1, 99.4, 99.6],
    }
    for sentence, static in sentences.items():
        runs = make_ledger(SMALL | {"xvolution_static": {1: [97.0, 97.8, 99.8], 3: static}})
        assert sentence in notes_of(runs)
    starts = {"convolution": 90.0, "xvolution": 95.0, "xvolution_static": 95.1}
    quiet = {name: {1: [start, start + 0.1, start + 0.2]} for name, start in starts.items()}
    assert "the difference is equivalent within ±0.6 (two one-sided tests) at 1." in notes_of(make_ledger(quiet))
    assert "control" not in notes_of(make_ledger(SMALL, controls={}))


def test_several_controls_have_a_sentence_each_in_the_order_of_the_rows(make_ledger) -> None:
    controls = {"xvolution": ["xvolution_static", "convolution"], "convolution": ["xvolution_static"]}
    pairs = [note.split(", mean")[0] for note in table_of(make_ledger(SMALL, controls=controls)).notes if "Ag" in note]
    assert pairs == [
        "Against its control, Convolution minus X-volution (static)",
        "Against its control, X-volution minus X-volution (static)",
        "Against its control, X-volution minus Convolution",
    ]
