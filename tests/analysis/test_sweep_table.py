from __future__ import annotations

import io

import pandas as pd
import pytest

from analysis import numbers
from analysis.render import load_sweep
from analysis.sweep.table import points, sweep_table

SMALL = {
    "convolution": {1: [24.0, 25.0, 26.0], 3: [70.0, 70.5, 71.0]},
    "xvolution": {1: [97.0, 98.0, 99.6], 3: [98.0, 98.5, 99.0]},
    "xvolution_static": {1: [96.5, 98.5, 99.6], 3: [99.3, 99.5, 99.7]},
}

MARKDOWN = """\
**Kernel size of the convolution (recipe match_small).** Top-1 accuracy (%), mean ± standard deviation. \
These data cannot reproduce the paper.

| kernel size K       | 1                      | 3                      |
| :------------------ | :--------------------: | :--------------------: |
| Convolution         | 25.0 ± 1.0             | 70.5 ± 0.5             |
| X-volution          | **98.2 ± 1.3** (+73.2) | 98.5 ± 0.5 (+28.0)     |
| X-volution (static) | **98.2 ± 1.6** (+73.2) | **99.5 ± 0.2** (+29.0) |
| *Parameters*        |                        |                        |
| Convolution         | 26.3k                  | 44.7k                  |
| X-volution          | 33.9k                  | 52.4k                  |
| X-volution (static) | 28.4k                  | 46.8k                  |

- Bold: highest mean of its column, regardless of the intervals.
- Estimator: mean over seeds of each run's last top-1 accuracy (%), ± standard deviation (ddof 1). \
CSV and figure hold its 95 % interval (Student's t), which assumes normal errors and so may exceed 100 %.
- n = 3 (seeds 0, 1, 2).
- In brackets: difference of the means to Convolution at the same kernel size K; its 95 % interval (paired by seed) \
is in the CSV.
- Against its control, X-volution minus X-volution (static), mean difference paired by seed \\[95 % interval each\\], \
by kernel size K: 1: 0.00 \\[−1.24, +1.24\\]; 3: −1.00 \\[−1.75, −0.25\\]; \
the difference ties within the interval at 1 and is below 0 at 3.
- Data: match-to-sample; budget: 3 epochs; commit: 0123456789; torch 2.15.0 on cpu.
- Published: –; these data cannot reproduce the paper; no published value.
"""

LATEX = r"""% Requires \usepackage{booktabs} and \usepackage{graphicx}.
\begin{table}[t]
  \centering
  \caption{Kernel size of the convolution (recipe match\_small). Top-1 accuracy (\%), mean $\pm$ standard deviation. """
LATEX += r"""These data cannot reproduce the paper.}
  \label{tab:kernel-size}
  \resizebox*{!}{\ifdim\totalheight>0.85\textheight 0.85\textheight\else\totalheight\fi}{%
  \begin{minipage}{\linewidth}\centering
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{lcc}
    \toprule
     & \multicolumn{2}{c}{kernel size K} \\
    \cmidrule(lr){2-3}
    Operator & 1 & 3 \\
    \midrule
    Convolution & 25.0 $\pm$ 1.0 & 70.5 $\pm$ 0.5 \\
    X-volution & \textbf{98.2 $\pm$ 1.3} (+73.2) & 98.5 $\pm$ 0.5 (+28.0) \\
    X-volution (static) & \textbf{98.2 $\pm$ 1.6} (+73.2) & \textbf{99.5 $\pm$ 0.2} (+29.0) \\
    \midrule
    \multicolumn{3}{l}{\emph{Parameters}} \\
    Convolution & 26.3k & 44.7k \\
    X-volution & 33.9k & 52.4k \\
    X-volution (static) & 28.4k & 46.8k \\
    \bottomrule
  \end{tabular}}
  \par\smallskip
  \footnotesize\raggedright
"""

HEADER = (
    "operator,kernel_size,metric,n,mean,sd,ci_low,ci_high,delta,published,delta_low,delta_high,delta_p,diverged,"
    "params,macs,wall_seconds,added_params"
)


def table_of(runs, select: str = "last"):
    return sweep_table(load_sweep(runs.out, "kernel_size", select))


def notes_of(runs, select: str = "last") -> str:
    return "\n".join(table_of(runs, select).notes)


def test_the_markdown_is_as_it_was(make_ledger) -> None:
    assert table_of(make_ledger(SMALL)).to_markdown() == MARKDOWN


def test_the_latex_is_as_it_was(make_ledger) -> None:
    latex = table_of(make_ledger(SMALL)).to_latex()
    assert latex.startswith(LATEX)
    assert latex.endswith("no published value.\n  \\end{minipage}}\n\\end{table}\n")
    assert r"{[}95 \% interval each]" in latex
    assert latex.isascii()


def test_the_csv_is_as_it_was(make_ledger) -> None:
    lines = table_of(make_ledger(SMALL)).to_csv().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 7
    frame = pd.read_csv(io.StringIO("\n".join(lines)))
    assert lines[1].split(",")[:6] == ["convolution", "1", "top1", "3", "25.0", "1.0"]
    assert lines[1].split(",")[8:] == ["", "", "", "", "", "0", "26292", "26292000", "9.5", "0"]
    assert frame["mean"].tolist()[2] == sum(SMALL["xvolution"][1]) / 3  # in full precision
    assert frame["published"].isna().all()


def test_bootstrap_and_holm_change_intervals_and_p_values(make_ledger) -> None:
    runs = make_ledger(SMALL).out
    sweep = load_sweep(runs, "kernel_size", interval="bootstrap", adjust=True)
    plain, asked = load_sweep(runs, "kernel_size").summary, sweep.summary
    known = plain["delta_p"].notna()
    assert (asked["delta_p"][known] > plain["delta_p"][known]).any() and asked["delta"].equals(plain["delta"])
    widths = [(found["delta_high"] - found["delta_low"])[known] for found in (asked, plain)]
    assert (widths[0] <= widths[1]).all() and (widths[0] < widths[1]).any()
    [note] = [note for note in sweep_table(sweep).notes if note.startswith("In brackets")]
    assert "(bootstrap, paired by seed)" in note and "p adjusted for 4 comparisons by Holm's method" in note


def test_terminal_text_fits_100_columns(make_ledger) -> None:
    runs = make_ledger()
    runs.diverge("xvolution", 9, 2)
    text = table_of(runs).to_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "98.5 ± 0.6" in text
    assert "(diverged 1 of 3)" in text


def test_a_wide_table_continues_below(make_ledger) -> None:
    sizes = range(1, 25, 2)
    runs = make_ledger({"convolution": {1: [90.0, 91.0]}})
    first = runs.cells[:]
    runs.cells.clear()
    for size in sizes:
        runs.cells += [
            cell | {"axes": {"kernel_size": size}, "cell_id": f"{size}-{cell['seed']}", "group_id": str(size)}
            for cell in first
        ]
    runs.write_sweep()
    text = table_of(runs).to_text()
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("kernel size K") >= 2


def test_a_table_of_one_seed_has_no_spread(make_ledger) -> None:
    table = table_of(make_ledger({name: {3: values[3][:1]} for name, values in SMALL.items()}))
    assert "| 98.0 ± – (+28.0)     |" in table.to_markdown()
    assert "n = 1 (seed 0); one seed has no spread (–)." in table.notes
    assert "–1.30" not in table.to_markdown()
    assert any("−1.30 (no interval)" in note for note in table.notes)
    assert "ties" not in "\n".join(table.notes)


def test_missing_and_diverged_runs_are_marked(make_ledger) -> None:
    runs = make_ledger(SMALL)
    runs.lose("xvolution", 1, 0)
    runs.diverge("xvolution", 3, 2)
    for seed in range(3):
        runs.lose("convolution", 3, seed)
        runs.diverge("xvolution_static", 3, seed)
    markdown = table_of(runs).to_markdown()
    assert "**98.8 ± 1.1** (+73.8; n = 2)" in markdown
    assert "98.2 ± 0.4 (n = 2; diverged 1 of 3)" in markdown
    assert "| – (n = 0)" in markdown
    assert "– (n = 0; diverged 3 of 3)" in markdown
    notes = notes_of(runs)
    assert "unless a table cell states its own" in notes
    assert "diverged runs are not averaged" in notes
    assert "by Welch where the seeds differ" in notes
    assert "(Welch)" in notes
    assert "3: " not in notes  # nothing to compare there


def test_a_table_without_finished_runs_has_dashes(make_ledger) -> None:
    runs = make_ledger(SMALL)
    for cell in runs.cells:
        runs.lose(cell["operator"], cell["axes"]["kernel_size"], cell["seed"])
    table = table_of(runs)
    assert table.to_markdown().count("– (n = 0)") == 6
    assert "**98" not in table.to_markdown()
    assert "convolution,1,top1,0,,,,,,,,,,0,,,,\n" in table.to_csv()
    assert "Bold" not in table.to_latex()


def test_the_control_sentence_is_computed(make_ledger) -> None:
    assert "ties within the interval at 1 and is below 0 at 3" in notes_of(make_ledger(SMALL))
    better = SMALL | {"xvolution": {1: [99.0, 99.5, 100.0], 3: [99.8, 100.0, 100.0]}}
    assert "ties within the interval at 1 and is above 0 at 3" in notes_of(make_ledger(better))
    assert "control" not in notes_of(make_ledger(SMALL, controls={}))


def test_several_controls_have_a_sentence_each_in_the_order_of_the_rows(make_ledger) -> None:
    controls = {"xvolution": ["xvolution_static", "convolution"], "convolution": ["xvolution_static"]}
    pairs = [note.split(", mean")[0] for note in table_of(make_ledger(SMALL, controls=controls)).notes if "Ag" in note]
    assert pairs == [
        "Against its control, Convolution minus X-volution (static)",
        "Against its control, X-volution minus X-volution (static)",
        "Against its control, X-volution minus Convolution",
    ]


def test_costs_are_below_and_the_papers_value_is_marked(make_ledger) -> None:
    runs = make_ledger(SMALL, below=["params", "added_params", "macs"], paper={"kernel_size": 3}, note="A note.")
    table = table_of(runs)
    assert table.columns == ("1", "3 (paper)")
    assert [block.heading for block in table.blocks] == ["", "Parameters", "Added parameters", "MACs per image"]
    added = {label: [entry.value for entry in entries] for label, entries in table.blocks[2].rows}
    assert added["Convolution"] == ["0", "0"]
    assert added["X-volution"] == ["+7.6k", "+7.6k"]  # 33940 - 26292, 52372 - 44724
    assert "A note." in table.notes
    for seed in range(3):
        runs.lose("convolution", 3, seed)
    added = dict(table_of(runs).blocks[2].rows)["X-volution"]
    assert [entry.value for entry in added] == ["+7.6k", "–"]


def epochs_of(runs):
    return points(load_sweep(runs.out, "kernel_size"), "curves")


def test_epochs_are_those_of_the_last_column_even_in_a_torn_file(make_ledger) -> None:
    runs = make_ledger(SMALL, figure={"kind": "curves", "x": "kernel_size"})
    for cell in runs.cells:
        folder, size = runs.out / "cells" / cell["cell_id"], cell["axes"]["kernel_size"]
        rows = [f"{epoch},{epoch},val_top1,{10 * epoch + size + cell['seed']}" for epoch in (1, 2)]
        rows += ["2,2,train_loss,0.5", "2,2,top1,99"]
        (folder / "metrics.csv").write_text("\n".join(["step,epoch,name,value", *rows]) + "\n")
    epochs, x, label = epochs_of(runs)
    assert (x, label) == ("epoch", "epoch, kernel size K 3")
    first = epochs[epochs["operator"] == "xvolution"]
    assert first["mean"].tolist() == [14.0, 24.0] and first["n"].tolist() == [3, 3]
    with (runs.folder("xvolution", 3, 0) / "metrics.csv").open("r+") as file:
        file.truncate(file.read().index("2,2,val_top1") + 3)
    epochs, *_ = epochs_of(runs)
    assert epochs[epochs["operator"] == "xvolution"]["epoch"].tolist() == [1], "not every seed has the second"
    assert len(epochs) == 5
    (runs.folder("xvolution", 3, 0) / "metrics.csv").unlink()
    assert set(epochs_of(runs)[0]["operator"]) == {"convolution", "xvolution_static"}


def test_warnings_name_mixes_and_failures(make_ledger) -> None:
    runs = make_ledger(SMALL)
    assert "Warning" not in notes_of(runs)
    environment = {"torch": "2.11.0", "device": "NVIDIA H200"}
    runs.write(runs.cell("xvolution", 1, 0), 97.0, commit="fedcba9876543210-dirty", environment=environment)
    runs.lose("xvolution", 3, 0)
    (runs.folder("xvolution", 3, 0) / "failure.json").write_text('{"error": "killed", "step": 3, "attempt": 1}')
    notes = notes_of(runs, "best")
    assert "Warning: mixed commits: 0123456789, fedcba9876-dirty." in notes
    assert "Warning: mixed versions of torch: 2.15.0, 2.11.0." in notes
    assert "Warning: mixed devices: cpu, NVIDIA H200." in notes
    assert f"Warning: 1 failed cell: {runs.cell('xvolution', 3, 0)['cell_id']} (killed)." in notes
    assert "Warning: each run's best evaluation (select = best)" in notes


def test_smoke_runs_and_recipes_that_reproduce_are_marked(make_ledger) -> None:
    table = table_of(make_ledger(SMALL, smoke=True, reproduces=["table 1", "ResNet-34", "classification"]))
    assert table.to_markdown().startswith("**SMOKE: Kernel size")
    assert r"\caption{SMOKE: Kernel size" in table.to_latex()
    assert "cannot reproduce" not in table.to_markdown()


def test_a_sweep_may_have_no_axes_or_two(make_ledger) -> None:
    runs = make_ledger({"convolution": {1: [90.0, 91.0]}, "xvolution": {1: [95.0, 96.0]}}, axes=[], figure=None)
    table = table_of(runs)
    assert table.columns == ("top-1 accuracy (%)", "parameters", "MACs per image", "seconds a run")
    row = [entry.value for entry in table.blocks[0].rows[1][1]]
    assert row == ["95.5 ± 0.7", "33.9k", "33.9M", "9.5"] and len(table.blocks) == 1
    assert any(note.startswith("Seconds a run: mean wall time") for note in table.notes)
    runs.lose("xvolution", 1, 0)
    runs.lose("xvolution", 1, 1)
    assert [entry.value for entry in table_of(runs).blocks[0].rows[1][1]] == ["–"] * 4
    runs = make_ledger({"convolution": {1: [90.0, 91.0]}}, axes=["distance", "kernel_size"])
    for cell in runs.cells:
        cell["axes"]["distance"] = 12
    runs.write_sweep()
    assert "| Convolution, distance = 12 | 90.5 ± 0.7 |" in table_of(runs).to_markdown()


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (-1.25, "−1.2"), (28.04, "+28.0"), (0.04, "0.0"), (float("nan"), "–")]
)
def test_signed_numbers(value: float, text: str) -> None:
    assert numbers.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(512, "512"), (44724, "44.7k"), (999_960, "1.0M"), (25_557_032, "25.6M"), (4_089_184_256, "4.1G"), (pd.NA, "–")],
)
def test_counts(value, text: str) -> None:
    assert numbers.count(value) == text


def test_lists_of_integers() -> None:
    assert numbers.integers([2, 0, 1, 1]) == "0, 1, 2"
    assert numbers.integers(range(10)) == "0–9"
    assert numbers.integers([0, 2, 4, 6, 8]) == "0, 2, 4, 6, 8"


def test_further_metrics_stand_below_with_a_dash_where_a_run_is_missing(make_ledger):
    runs = make_ledger(SMALL, beside={"val_top1": "validation accuracy (%)"})
    runs.lose("convolution", 3, 0)
    runs.lose("convolution", 3, 1)
    runs.lose("convolution", 3, 2)
    scores, validation, parameters = table_of(runs).blocks
    assert (validation.heading, parameters.heading) == ("Validation accuracy (%)", "Parameters")
    assert [label for label, _ in validation.rows] == [label for label, _ in scores.rows]
    values = {label: [entry.value for entry in entries] for label, entries in validation.rows}
    assert values["Convolution"] == ["24.5 ± 1.0", "–"]  # the ledger's runs validate 0.5 below their score
    assert not any(entry.bold or entry.remarks for _, entries in validation.rows for entry in entries)
