"""`python -m benchmarks` from flags to files: columns, ratios, foreign operators, and what is left out."""

from __future__ import annotations

import csv
import platform
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
import torch

from benchmarks import core, operators, plot, report, subjects
from benchmarks.__main__ import main
from benchmarks.shapes import DETECTION, Shape
from benchmarks.subjects import Machine, make_subject
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.training import environment

CPU = Machine(torch.device("cpu"))
CONTROLS = ("wide_convolution", "paired_convolution", "se_convolution")  # made of convolutions
TINY = Shape("tiny", 2, 16, 6, 5)


def run(out: Path, mode: str, *flags: str) -> None:
    assert main([mode, "--smoke", "--device", "cpu", "--out", str(out), *flags]) == 0


def read(out: Path, stem: str) -> list[dict[str, str]]:
    [path] = out.glob(f"{stem}-*.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke") / "made"
    run(out, "operators")
    run(out, "scaling")
    return out


def test_a_row_per_operator_with_all_columns(smoke):
    rows = read(smoke, "operators")
    assert [row["operator"] for row in rows] == list(registry.OPERATORS)
    environment = ["device", "torch", "threads", "dtype", "memory_format", "rounds"]
    assert list(rows[0]) == [*operators.columns(cuda=False), *environment]
    assert {(row["shape"], row["threads"], row["torch"]) for row in rows} == {("2x16x7x7", "1", torch.__version__)}
    for row in rows:
        operator = build_operator(row["operator"], 16, 16)
        assert int(row["macs"]) == operator.macs(7, 7)
        assert int(row["params"]) == sum(parameter.numel() for parameter in operator.parameters())
        for timing in ("forward", "training"):
            low, middle, high = (float(row[f"{timing}_{part}"]) for part in ("q1_ms", "ms", "q3_ms"))
            assert 0 < low <= middle <= high
        # Only what has a literal form is compared with it.
        plain = row["operator"] in ("convolution", "multi_convolution", *CONTROLS)
        assert (row["forward_speedup"] == "") == (row["reference_saved_bytes"] == "") == plain
        one = ("convolution", "wide_convolution", "se_convolution", "xvolution_pointwise")
        assert (row["fused_over_unfused"] == "") == (row["operator"] in one)
    assert rows[0]["forward_over_convolution"] == rows[0]["macs_over_convolution"] == "1"


def test_files_name_the_environment_and_not_the_host(smoke):
    names = sorted(path.name for path in smoke.iterdir())
    [operators] = [name for name in names if name.startswith("operators") and name.endswith(".csv")]
    environment = operators.removeprefix("operators-").removesuffix(".csv")
    assert environment.startswith("cpu-") and environment.endswith(f"torch-{torch.__version__}-1-thread")
    expected = [f"operators-{environment}{suffix}" for suffix in (".csv", ".md")]
    expected += [f"scaling-{environment}{suffix}" for suffix in (".csv", ".md", ".pdf", ".png", ".svg")]
    assert names == sorted(expected)  # and nothing temporary
    host = platform.node()
    texts = [path.read_text() for path in smoke.iterdir() if path.suffix in (".csv", ".md")]
    assert len(host) < 4 or not any(host in text for text in [*names, *texts])


def test_markdown_has_every_operator_and_how_it_was_measured(smoke):
    [path] = smoke.glob("operators-*.md")
    text = path.read_text()
    assert all(f"| {entry.label} " in text for entry in registry.OPERATORS.values())
    assert f"commit {environment.commit()[:10]}." in text
    assert "SMOKE" in text and "1 thread" in text and "random order, seed 0" in text and "median [quartiles]" in text


def test_scaling_has_a_row_per_operator_and_side(smoke):
    rows = read(smoke, "scaling")
    assert [(row["operator"], row["side"]) for row in rows] == [
        (name, side) for name in ("pssa", "xvolution", "self_attention") for side in ("7", "10", "14")
    ]
    assert all(row["times_pssa"] == "1" for row in rows if row["operator"] == "pssa")
    assert all(int(row["macs"]) == build_operator("pssa", 64, 64).macs(14, 14) for row in rows[2:3])
    [text] = [path.read_text() for path in smoke.glob("scaling-*.md")]
    assert "| exponent " in text


def test_the_core_is_measured_with_the_whole_operators(tmp_path, capsys):
    run(tmp_path, "core", "--rounds", "1", "--shapes", "2x16x8x8", "3x8x6x5")
    rows = {row["label"]: row for row in read(tmp_path, "core") if row["shape"] == "2x16x8x8"}
    core, whole = rows["core, dot, 4 heads"], rows["PSSA, dot, 4 heads"]
    spec = PSSA(16, 16, num_heads=4).spec
    assert int(core["macs"]) == 64 * spec.macs_per_query(16) == int(whole["macs"]) - 3 * 64 * 16 * 16
    assert float(core["forward_speedup"]) > 0 and float(core["training_speedup"]) > 0
    assert int(core["reference_saved_bytes"]) > int(core["saved_bytes"])
    assert core["fused_over_unfused"] == "" != whole["fused_over_unfused"]
    assert {"core, hadamard", "PSSA, hadamard", "X-volution, hadamard", "X-volution, dot, 4 heads"} < set(rows)
    printed = capsys.readouterr().out
    assert "| fused over unfused " in printed and "geometric mean" in printed


def test_scaling_measures_the_core_against_global_attention(tmp_path):
    run(tmp_path, "scaling", "--core", "--rounds", "1")
    scaled = read(tmp_path, "scaling-core")
    assert list(dict.fromkeys(row["operator"] for row in scaled)) == ["hadamard", "dot", "self_attention"]
    assert all(row["attention_over"] == "1" for row in scaled if row["operator"] == "self_attention")


def test_the_core_equals_its_reference_and_keeps_nothing_on_large_maps():
    shape = Shape("larger", 1, 8, 16, 17)
    for form in core.FORMS:
        subject = core.make_core(form, shape, CPU, 0)
        assert torch.allclose(subject.calls["forward"](), subject.calls["reference_forward"](), atol=1e-5)
        assert subject.saved_bytes == 0 < subject.reference_saved_bytes


def test_networks_are_compared_with_the_plain_one(tmp_path, capsys):
    run(tmp_path, "network", "--rounds", "1")
    plain, dot, hadamard = read(tmp_path, "network")
    assert [row["network"] for row in (plain, dot, hadamard)] == ["plain", "X-volution, dot", "X-volution, hadamard"]
    assert plain["training_over_plain"] == plain["inference_over_plain"] == plain["macs_over_plain"] == "1"
    assert plain["fused_ms"] == "" and int(dot["macs"]) > int(plain["macs"])
    for row in (dot, hadamard):
        assert float(row["fused_over_plain"]) == pytest.approx(
            float(row["fused_ms"]) / float(plain["inference_ms"]), 1e-3
        )
    assert "training step, ms" in capsys.readouterr().out


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module with operators of a user."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "users_module.py").write_text(
        textwrap.dedent("""
            from torch import nn

            class Depthwise(nn.Conv2d):
                def __init__(self, in_channels, out_channels, *, stride=1):
                    super().__init__(in_channels, out_channels, 3, stride, padding=1, groups=in_channels)

            class Breaks(Depthwise):
                def forward(self, x):
                    raise KeyError("no such thing")
        """)
    )
    yield "users_module"
    sys.modules.pop("users_module", None)


def test_an_operator_of_the_user_is_compared_with_the_convolution(tmp_path, mine, capsys):
    run(tmp_path / "out", "operators", "--operator", f"{mine}:Depthwise", "--shapes", "1x4x5x3", "--rounds", "1")
    rows = read(tmp_path / "out", "operators")
    assert [row["operator"] for row in rows] == ["convolution", f"{mine}:Depthwise"]
    assert (rows[1]["label"], rows[1]["macs"], rows[1]["params"]) == ("Depthwise", str(15 * 4 * 9), "40")
    assert rows[1]["forward_speedup"] == "" and float(rows[1]["macs_over_convolution"]) == 0.25
    assert "Depthwise" in capsys.readouterr().out


def test_an_operator_that_breaks_is_one_sentence(tmp_path, mine):
    with pytest.raises(
        UserError, match=r"operator 'users_module:Breaks' fails at 2x16x7x7: KeyError: 'no such thing'$"
    ):
        run(tmp_path / "out", "operators", "--operator", f"{mine}:Breaks")
    assert not list((tmp_path / "out").iterdir())


def test_the_fused_operator_gives_the_same():
    subject = make_subject("xvolution", TINY, CPU, 0)
    assert torch.allclose(subject.calls["forward"](), subject.calls["fused_forward"](), atol=1e-4)
    assert "fused_forward" not in make_subject("convolution", TINY, CPU, 0).calls  # there is nothing to fuse


def test_a_literal_reference_that_does_not_fit_is_left_out_with_a_note(monkeypatch):
    monkeypatch.setattr(subjects, "REFERENCE_BYTES", 10_000)
    subject = make_subject("self_attention", TINY, CPU, 0)
    assert "reference_forward" not in subject.calls and subject.reference_saved_bytes is None
    assert subject.note.startswith("literal reference not run: it would keep")
    monkeypatch.undo()
    with torch.device("meta"):
        operator = build_operator("self_attention", 64, 64)
    x = torch.empty(1, 64, DETECTION[0].height, DETECTION[0].width, device="meta")
    assert subjects._reference_bytes(operator, x) > subjects.REFERENCE_BYTES  # at 200 x 334, found without computing


def test_the_literal_reference_gives_the_same():
    subject = make_subject("pssa", TINY, CPU, 0)
    assert torch.allclose(subject.calls["forward"](), subject.calls["reference_forward"](), atol=1e-5)
    assert subject.reference_saved_bytes > subject.saved_bytes > 0


def test_without_matplotlib_the_tables_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(tmp_path, "scaling", "--operator", "convolution", "--rounds", "1")
    assert f"{plot.MISSING}\n" in capsys.readouterr().out
    [table] = tmp_path.glob("scaling-*.csv")
    table.with_name(f"{table.stem}.svg").write_text("older")
    run(tmp_path, "scaling", "--operator", "convolution", "--rounds", "1")
    assert f"{plot.MISSING}; an older figure" in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.glob("scaling-*")} == {".csv", ".md"}


def test_the_figure_has_logarithmic_axes_and_exponents():
    rows = [
        {"operator": name, "label": name, "side": side, "pixels": side**2, "exponent": 1.0, "forward_ms": side,
         "forward_q1_ms": 0.9 * side, "forward_q3_ms": 1.2 * side}
        for name in ("pssa", "mine:Own") for side in (28, 112)
    ]  # fmt: skip
    figure = plot.draw_scaling(rows, "here", smoke=True)
    [ax] = figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["28²", "112²"]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["pssa, p = 1.00", "mine:Own, p = 1.00"]
    assert [text.get_text() for text in ax.texts] == ["SMOKE"]


def test_loaders_are_compared_and_leave_no_pictures(tmp_path, monkeypatch, capsys):
    pictures = tmp_path / "temporary"
    pictures.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(pictures))
    run(tmp_path, "data", "--workers", "0", "--images", "9", "--batch-size", "4", "--rounds", "1")
    ours, theirs = read(tmp_path, "loaders")
    assert (ours["pipeline"], theirs["pipeline"]) == ("lightning_xvol", "torchvision")
    assert theirs["over_torchvision"] == "1" and float(ours["images_per_second"]) > 0
    assert float(ours["over_torchvision"]) == pytest.approx(
        float(ours["images_per_second"]) / float(theirs["images_per_second"]), rel=1e-3
    )
    assert not list(pictures.iterdir())
    assert "images/s" in capsys.readouterr().out


def test_peak_memory_has_columns_only_on_cuda():
    peaks = {"peak_bytes", "peak_over_convolution"}
    assert peaks <= set(operators.columns(cuda=True)) and not peaks & set(operators.columns(cuda=False))
    row = {"shape": "s", "batch": 1, "channels": 2, "height": 3, "width": 4, "label": "Own", "params": 5, "macs": 6,
           "macs_over_convolution": 1.0, "saved_inputs": 0.0, "note": "as noted", "peak_bytes": 7_000_000,
           "peak_over_convolution": 2.5}  # fmt: skip
    text = operators.tables([row])
    assert "peak, MB" in text and "|        7 |" in text and "2.50×" in text and "- Own: as noted." in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("arguments", [["bandwidth"], ["network", "--device", "cuda"]], ids=" ".join)
def test_without_a_gpu_one_sentence_says_so_and_nothing_is_written(tmp_path, arguments):
    with pytest.raises(UserError, match=r"^torch sees no CUDA device here; `bandwidth` and `--device cuda` need one$"):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["operators", "--operator", "json:NoSuchClass"], "json:NoSuchClass.*Python path"),
        (["operators", "--out", "/proc/nowhere"], "/proc/nowhere.*--out"),
        (["data", "--images", "8", "--batch-size", "9"], "data.batch_size=9"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_that_only_torch_or_the_disk_shows_is_one_sentence(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        run(tmp_path, *arguments)


def test_numbers_in_tables_and_file_names():
    assert [report.magnitude(value) for value in (12, 999_960, 2_400_000, 4_940_598_848)] == [
        "12", "1.0M", "2.4M", "4.9G",
    ]  # fmt: skip
    assert [report.times(value) for value in (None, 0.123, 12.34, 123.4)] == ["–", "0.12×", "12.3×", "123×"]
    assert report.interval(12.34, 0.00012, 0) == "12.3 [0.0001, 0]"
    where = report.Environment("NVIDIA H200", "2.15.0+cu132", 4, "bfloat16", "channels_last")
    assert where.slug == "nvidia-h200-torch-2.15.0+cu132-4-threads-bfloat16-channels-last"
