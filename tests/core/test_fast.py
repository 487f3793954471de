"""`--fast`: where it is allowed, what it sets, and that PSSA's products are float32 under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.engine.options import read_options
from lightning_xvol import kernels
from lightning_xvol.commandline import Parser
from lightning_xvol.commands import fit
from lightning_xvol.config import fast
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.record import cell_id
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import use_float32_products

CPUINFO = "processor\t: 0\nmodel name\t: some\nflags\t\t: fpu sse2 {}\nbugs\t\t: avx512_bf16_is_no_bug\n"


@pytest.fixture(params=["avx512_bf16", "amx_bf16 amx_tile"])
def able(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(request.param))
    monkeypatch.setattr(fast, "_CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture(params=["avx512f", None])
def unable(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        (tmp_path / "cpuinfo").write_text(CPUINFO.format(request.param))
    monkeypatch.setattr(fast, "_CPUINFO", tmp_path / "cpuinfo")


def changed(config: RunConfig, pairs: Any) -> RunConfig:
    for path, value in pairs:
        config = set_value(config, path, value)
    return config


def parse(*arguments: str) -> Any:
    parser = Parser(prog="fit")
    fit.add_arguments(parser)
    return parser.parse_args(list(arguments))


def test_it_sets_fields_of_the_identity(able: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_options({"fast": True}).changes() == list(fast.SETTINGS)
    expected = changed(RECIPES["match_small"].config("xvolution"), fast.SETTINGS)
    fit.run(parse("--fast", "--operator", "xvolution", "--dry-run", "--out", str(tmp_path / "runs")))
    assert f"# cell {cell_id(expected)}," in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--fast sets train.precision=bf16-mixed, and --set train.precision=64-true"):
        read_options({"fast": True, "settings": {"train.precision": "64-true"}})


def test_elsewhere_it_is_refused_in_one_sentence(unable: None) -> None:
    for attempt in (lambda: read_options({"fast": True}), lambda: fit.run(parse("--fast"))):
        with pytest.raises(UserError, match="needs a processor with avx512_bf16 or amx_bf16") as refused:
            attempt()
        assert "\n" not in str(refused.value)
    assert read_options({"fast": False}).changes() == []


def test_the_field_is_in_an_id_only_where_it_changes_something() -> None:
    for operator, precision, told in (
        ("xvolution", "bf16-mixed", True),
        ("pssa", "bf16-mixed", True),
        ("convolution", "bf16-mixed", False),
        ("xvolution", "32-true", False),
    ):
        config = set_value(RECIPES["match_small"].config(operator), "train.precision", precision)
        both = [set_value(config, "train.pssa_products", value) for value in ("float32", "projections")]
        assert (cell_id(both[0]) != cell_id(both[1])) == told
        assert fast.has_float32_products(resolve(both[0])) == told


@pytest.mark.parametrize("form", ["dot", "hadamard", "softmax", "static"])
def test_products_are_float32_under_autocast(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    compute = kernels.pssa

    def watched(spec: Any, *tensors: torch.Tensor | None) -> torch.Tensor:
        seen.extend(tensor.dtype for tensor in tensors[:3] if tensor is not None)
        return compute(spec, *tensors)

    monkeypatch.setattr(kernels, "pssa", watched)
    torch.manual_seed(0)
    operator = build_operator("xvolution", 8, 8, form=form)
    x = torch.randn(2, 8, 6, 6)
    outputs = []
    for wanted, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        use_float32_products(operator, wanted)
        seen.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs.append(operator(x))
        assert set(seen) == {dtype} and outputs[-1].dtype == torch.bfloat16
        outputs[-1].float().sum().backward()
    torch.testing.assert_close(outputs[0].float(), outputs[1].float(), atol=0.1, rtol=0.1)
    use_float32_products(operator.bfloat16(), True)
    assert operator(x.bfloat16()).dtype == torch.bfloat16, "without float32 weights there is nothing to compute in"
