from __future__ import annotations

import io

import pandas as pd
import pytest
from scipy import stats

from analysis.render import load_sweep
from analysis.statistics import holm
from analysis.sweep.table import points, sweep_table
from lightning_xvol.errors import UserError
from tests.analysis.conftest import ENVIRONMENT

SMALL = {
    "convolution": {1: [24.0, 25.0, 26.0], 3: [70.0, 70.5, 71.0]},
    "xvolution": {1: [97.0, 98.0, 99.6], 3: [98.0, 98.5, 99.0]},
    "xvolution_static": {1: [96.5, 98.5, 99.6], 3: [99.3, 99.5, 99.7]},
}

MARKDOWN = """\
**Kernel size of the convolution (recipe match_small).** Top-1 accuracy (%), mean ± standard deviation. \
These data cannot reproduce the paper.

| kernel size K       | 1                       | 3                       |
| :------------------ | :---------------------: | :---------------------: |
| Convolution         | 25.0 ± 1.0              | 70.5 ± 0.5              |
| X-volution          | **98.2 ± 1.3** (+73.2†) | 98.5 ± 0.5 (+28.0†)     |
| X-volution (static) | **98.2 ± 1.6** (+73.2†) | **99.5 ± 0.2** (+29.0†) |
| *Parameters*        |                         |                         |
| Convolution         | 26.3k                   | 44.7k                   |
| X-volution          | 33.9k                   | 52.4k                   |
| X-volution (static) | 28.4k                   | 46.8k                   |

- Bold: highest mean of its column, where it is resolved above Convolution.
- Estimator: mean over seeds of each run's last top-1 accuracy (%), ± standard deviation (ddof 1).
- n = 3 (seeds 0, 1, 2).
- 95 % intervals over seeds use a row's own spread or, where that is smaller, one pooled with the other rows of the \
table (d0 = 2.0); differences are not paired, p by Holm; n \\< 3 decides nothing.
- In brackets: difference of the means to Convolution at the same kernel size K; †: resolved, p below 5 % after Holm \
over the 6 differences of the table. CSV and figure hold the intervals.
- Against its control, X-volution minus X-volution (static), mean difference \\[95 % interval each\\], \
by kernel size K: 1: 0.00 \\[−2.74, +2.74\\]; 3: −1.00 \\[−1.79, −0.21\\]; \
the difference is not resolved at 1 (a gain above 2.74 is excluded) and is below 0 at 3.
- Data: match-to-sample; budget: 3 epochs; commit: 0123456789; torch 2.15.0 on cpu.
- Published: –; these data cannot reproduce the paper; no published value.
"""

LATEX = r"""
\def\resulttableA{%
  \begin{tabular}{@{}l@{\hspace{12pt}} r@{}l r@{}l@{}}
    \toprule
     & \multicolumn{4}{c}{kernel size K} \\
    \cmidrule(lr){2-5}
    Operator & \multicolumn{2}{c}{1} & \multicolumn{2}{c}{3} \\
    \midrule
    Convolution & 25 & .0 $\pm$ 1.0 & 70 & .5 $\pm$ 0.5 \\
    X-volution & \textbf{98} & \textbf{.2 $\pm$ 1.3} & 98 & .5 $\pm$ 0.5 \\
     & \llap{(+}73 & .2$\dagger$) & \llap{(+}28 & .0$\dagger$) \\[2pt]
    X-volution (static) & \textbf{98} & \textbf{.2 $\pm$ 1.6} & \textbf{99} & \textbf{.5 $\pm$ 0.2} \\
     & \llap{(+}73 & .2$\dagger$) & \llap{(+}29 & .0$\dagger$) \\[2pt]
    \midrule
    \multicolumn{5}{@{}l@{}}{\emph{Parameters}} \\
    Convolution & 26 & .3k & 44 & .7k \\
    X-volution & 33 & .9k & 52 & .4k \\
    X-volution (static) & 28 & .4k & 46 & .8k \\
    \bottomrule
  \end{tabular}}
\def\resultmeasure{\sbox{\resultbox}{\resultsize\vbox{\hbox{\resulttableA}}}}
\resultchoose
\begin{\resultfloat}[tp]
  \centering
  \caption{Kernel size of the convolution (recipe match\_small). Top-1 accuracy (\%), mean $\pm$ standard deviation. """
LATEX += r"""These data cannot reproduce the paper.}
  \label{tab:kernel-size}
  \par\smallskip
  \resultfit{\begin{minipage}{\resultwidth}
    \centering
    {\resultsize\resulttableA\par}
    \medskip
    \fontsize{7}{8.4}\selectfont\raggedright
    Bold: """

HEADER = (
    "operator,kernel_size,metric,planned,diverged,n,mean,sd,sd_used,df,lowest,highest,ci_low,ci_high,delta,delta_low,"
    "delta_high,delta_df,delta_method,delta_p,delta_p_holm,resolved,published,params,macs,wall_seconds,added_params,"
    "cpu_seconds"
)


def table_of(runs, select: str = "last"):
    return sweep_table(load_sweep(runs.out, "kernel_size", select))


def notes_of(runs, select: str = "last") -> str:
    return "\n".join(table_of(runs, select).notes)


def test_the_markdown_is_as_it_was(make_ledger) -> None:
    assert table_of(make_ledger(SMALL)).to_markdown() == MARKDOWN


def test_the_latex_is_as_it_was(make_ledger) -> None:
    latex = table_of(make_ledger(SMALL)).to_latex()
    assert LATEX in latex
    assert latex.endswith("no published value.\n  \\end{minipage}}\n\\end{\\resultfloat}\n\\endgroup\n")
    assert r"{[}95 \% interval each]" in latex
    assert latex.isascii()


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ([], "(recipe match_small)."),
        (["optim.lr=0.05", "data.workers=2", "train.epochs=3"], "(recipe match_small)."),
        (["data.name=cifar10", "optim.lr=0.05"], "(match-to-sample; set by hand: data.name=cifar10)."),
        (["backbone.name=vgg13", "data.limit=9"], "(match-to-sample; set by hand: backbone.name=vgg13, data.limit=9)."),
    ],
)
def test_a_table_of_other_data_or_another_network_does_not_carry_the_name_of_the_recipe(
    make_ledger, settings: list[str], title: str
) -> None:
    table = table_of(make_ledger(SMALL, settings=settings))
    assert table.title == f"Kernel size of the convolution {title}"
    changed = f"changed: {', '.join(settings)};" if settings else "commit"
    by_hand = "set by hand" in title
    for notes in (table.notes, table.short_notes):
        [data] = [note for note in notes if note.startswith("Data: ")]
        assert f"budget: 3 epochs; {'recipe: match_small; ' if by_hand else ''}{changed}" in data


def test_the_csv_is_as_it_was(make_ledger) -> None:
    lines = table_of(make_ledger(SMALL)).to_csv().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 7
    frame = pd.read_csv(io.StringIO("\n".join(lines)))
    assert lines[1].split(",")[:8] == ["convolution", "1", "top1", "3", "0", "3", "25.0", "1.0"]
    assert lines[1].split(",")[14:] == [*[""] * 4, "none", *[""] * 4, "26292", "26292000", "9.5", "0", ""]
    assert lines[3].split(",")[-9:-5] == [lines[3].split(",")[-9], lines[3].split(",")[-8], "True", ""]
    assert frame["mean"].tolist()[2] == sum(SMALL["xvolution"][1]) / 3  # in full precision
    assert frame["published"].isna().all()


def test_students_t_stays_on_request(make_ledger) -> None:
    sweep = load_sweep(make_ledger(SMALL).out, "kernel_size", interval="t")
    summary = sweep.summary
    assert summary["sd_used"].equals(summary["sd"]) and (summary["df"] == 2).all()
    for row in summary.to_dict("records"):
        expected = stats.t.interval(0.95, 2, loc=row["mean"], scale=row["sd"] / 3**0.5)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected, rel=1e-12)
    assert set(summary["delta_method"]) == {"none", "welch"}
    assert summary["ci_high"].max() > 100
    assert any("(--interval t): they may pass 100 %" in note for note in sweep_table(sweep).notes)
    assert "no variance prior" in sweep.diagnostic()
    with pytest.raises(UserError, match="interval='bootstrap' must be one of moderated, t"):
        load_sweep(make_ledger(SMALL).out, "kernel_size", interval="bootstrap")


def test_holms_family_is_every_difference_that_the_table_tells_once(make_ledger) -> None:
    summary = load_sweep(make_ledger(SMALL).out, "kernel_size").summary
    alone = load_sweep(make_ledger(SMALL, controls={}).out, "kernel_size").summary
    known = summary["delta_p"].notna()
    assert known.sum() == 4
    pd.testing.assert_series_equal(alone["delta_p_holm"][known], pd.Series(holm(alone["delta_p"][known].tolist()),
        index=alone.index[known], name="delta_p_holm"))  # fmt: skip
    smallest = summary["delta_p"].idxmin()
    assert summary["delta_p_holm"][smallest] == pytest.approx(6 * summary["delta_p"][smallest]), "two controls more"
    # A group that stands at several values of an axis is one entry, and its difference is one difference.
    runs = make_ledger(SMALL, controls={})
    again = [cell | {"axes": {"kernel_size": 5}} for cell in runs.cells if cell["axes"]["kernel_size"] == 3]
    runs.cells += again
    runs.write_sweep()
    twice = load_sweep(runs.out, "kernel_size").summary
    assert twice[twice["kernel_size"] != 5].reset_index(drop=True).equals(alone)
    first, second = (twice[twice["kernel_size"] == size].drop(columns="kernel_size") for size in (3, 5))
    assert first.reset_index(drop=True).equals(second.reset_index(drop=True))


@pytest.mark.parametrize(
    ("changes", "bold"),
    [
        ({}, {"X-volution": ["98.2 ± 1.3", ""], "X-volution (static)": ["98.2 ± 1.6", "99.5 ± 0.2"]}),
        ({"baseline": None}, {}),
        ({"baseline": "xvolution_static"}, {}),  # nothing is above it, and it is below nothing
    ],
)
def test_only_a_highest_mean_that_is_resolved_above_the_baseline_is_bold(make_ledger, changes, bold) -> None:
    """Equal means as they are written are bold together."""
    table = table_of(make_ledger(SMALL, **changes))
    cells = {row: [cell.value if cell.bold else "" for cell in cells] for row, cells in table.blocks[0].rows}
    assert {row: values for row, values in cells.items() if any(values)} == bold
    assert ("Bold" in table.to_markdown()) == ("textbf" in table.to_latex()) == bool(bold)


def test_two_runs_resolve_nothing(make_ledger) -> None:
    two = {name: {size: values[:2] for size, values in sizes.items()} for name, sizes in SMALL.items()}
    results = load_sweep(make_ledger(two).out, "kernel_size")
    assert not results.summary["resolved"].fillna(False).any()
    assert (results.summary["delta_p_holm"].dropna() < 0.05).any(), "though p is small"
    table = sweep_table(results)
    assert "| 97.0, 98.0 (+73.0)" in table.to_markdown() and "†:" in "".join(table.notes)
    assert "†)" not in table.to_markdown() and "± " not in table.to_markdown().split("Estimator")[0]
    notes = "".join(table.notes)
    assert "the difference is not resolved (n < 3)." in notes and "interval each" not in notes
    assert pd.read_csv(io.StringIO(table.to_csv()))["ci_low"].notna().all()


def test_runs_far_apart_show_their_extremes(make_ledger) -> None:
    table = table_of(make_ledger({"convolution": {1: [70.0, 70.5, 70.2]}, "xvolution": {1: [99.0, 98.0, 31.0]}}))
    assert "31.0 to 99.0)" in table.to_markdown() and "70.0 to" not in table.to_markdown()
    assert any("runs more than 10 points apart: lowest to highest in brackets" in note for note in table.notes)


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
    assert "| X-volution          | 98.0  |" in table.to_markdown()
    assert not any(cell.bold or cell.remarks for cell in table.cells)
    assert table.caption.startswith("Top-1 accuracy (%), single runs.")
    assert "n = 1 (seed 0); one or two runs stand as they are, without a spread." in table.notes
    assert not any("control" in note or "brackets" in note or "95 %" in note for note in table.notes)


def test_missing_and_diverged_runs_are_marked(make_ledger) -> None:
    runs = make_ledger(SMALL)
    runs.lose("xvolution", 1, 0)
    runs.diverge("xvolution", 3, 2)
    for seed in range(3):
        runs.lose("convolution", 3, seed)
        runs.diverge("xvolution_static", 3, seed)
    markdown = table_of(runs).to_markdown()
    assert "| 98.0, 99.6 (+73.8; n = 2)" in markdown
    assert "98.0, 98.5 (n = 2; diverged 1 of 3)" in markdown
    assert "| – (n = 0)" in markdown
    assert "– (n = 0; diverged 3 of 3)" in markdown
    notes = notes_of(runs)
    assert "unless a table cell states its own" in notes
    assert "diverged runs are not averaged" in notes
    assert "by kernel size K: 1: " in notes and "; 3: " not in notes  # nothing to compare there


def test_a_table_without_finished_runs_has_dashes(make_ledger) -> None:
    runs = make_ledger(SMALL)
    for cell in runs.cells:
        runs.lose(cell["operator"], cell["axes"]["kernel_size"], cell["seed"])
    table = table_of(runs)
    assert table.to_markdown().count("– (n = 0)") == 6
    assert "**98" not in table.to_markdown()
    assert "convolution,1,top1,3,0,0,,,,,,,,,,,,,none,,,,,,,,,\n" in table.to_csv()
    assert "Bold" not in table.to_latex()


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
    scores = {"convolution": {1: [90.0, 91.0, 90.5]}, "xvolution": {1: [95.0, 96.0, 95.5]}}
    runs = make_ledger(scores, axes=[], figure=None)
    table = table_of(runs)
    assert table.columns == ("top-1 accuracy (%)", "parameters", "MACs per image", "seconds a run")
    row = [entry.value for entry in table.blocks[0].rows[1][1]]
    assert row == ["95.5 ± 0.5", "33.9k", "33.9M", "9.5"] and len(table.blocks) == 1
    assert any(note.startswith("Seconds a run: mean wall time") for note in table.notes)
    for seed in range(3):
        runs.lose("xvolution", 1, seed)
    assert [label for label, _ in table_of(runs).blocks[0].rows] == ["Convolution"]
    runs = make_ledger({"convolution": {1: [90.0, 91.0]}}, axes=["distance", "kernel_size"])
    for cell in runs.cells:
        cell["axes"]["distance"] = 12
    runs.write_sweep()
    assert "| Convolution, distance = 12 | 90.0, 91.0 |" in table_of(runs).to_markdown()


def test_cpu_time_takes_the_place_of_wall_time_where_every_run_has_it(make_ledger) -> None:
    """Other work on the machine lengthens wall time. On a GPU wall time is what a run costs."""
    runs = make_ledger({"convolution": {1: [90.0, 91.0, 90.5]}}, axes=[], figure=None)
    for cell, seconds in zip(runs.cells, (20.0, 22.0, 27.0), strict=True):
        runs.write(cell, 90.0 + cell["seed"], cpu_seconds=seconds)
    table = table_of(runs)
    assert table.columns[-1] == "CPU seconds a run" and table.blocks[0].rows[0][1][-1].value == "23.0"
    assert any(note.startswith("CPU seconds a run: mean CPU time") for note in table.notes)
    assert pd.read_csv(io.StringIO(table.to_csv()))[["wall_seconds", "cpu_seconds"]].values.tolist() == [[9.5, 23.0]]
    runs.write(runs.cells[0], 90.0, cpu_seconds=20.0, environment=ENVIRONMENT | {"device": "cuda (NVIDIA H200)"})
    assert table_of(runs).columns[-1] == "seconds a run"
    runs.write(runs.cells[0], 90.0)  # a record of a former version
    assert table_of(runs).columns[-1] == "seconds a run"


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
