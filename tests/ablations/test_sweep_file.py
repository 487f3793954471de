"""`--config sweep.yaml` gives the flags of a sweep by their names, and `--only operator=` takes every spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import ablations.all
from ablations.engine import cli
from ablations.engine.catalogue import sweeps
from ablations.engine.options import Options, read_options
from ablations.engine.sweep_file import ONLY_TYPED, read_arguments
from lightning_xvol.errors import UserError

SWEEP = sweeps()["kernel_size"]
DOTTED = "lightning_xvol.operators.xvolution:XVolution"


def options(*arguments: str) -> Options:
    return read_options(read_arguments(cli.make_parser(SWEEP), arguments))


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every processor take `--fast`."""
    monkeypatch.setattr("lightning_xvol.config.fast.has_bfloat16", lambda: True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.yaml"


# Every flag: its values in a file, and the same on a command line.
SAME: dict[str, tuple[Any, list[str]]] = {
    "recipe": ("digits_small", ["digits_small"]),
    "seeds": (2, ["2"]),
    "first-seed": (5, ["5"]),
    "protocol": ("protocol.md", ["protocol.md"]),
    "out": ("some/where", ["some/where"]),
    "data-dir": ("data of mine", ["data of mine"]),
    "download": (True, []),
    "backbone-from": ("runs", ["runs"]),
    "wandb": ("disabled", ["disabled"]),
    "wandb-project": ("mine", ["mine"]),
    "wandb-entity": ("us", ["us"]),
    "wandb-tags": (["one", "two"], ["one,two"]),
    "wandb-notes": ("a note of mine", ["a note of mine"]),
    "wandb-system": (True, []),
    "wandb-artifacts": (True, []),
    "launcher": ("local", ["local"]),
    "partition": ("fast", ["fast"]),
    "time": ("1:30:00", ["1:30:00"]),
    "jobs": (3, ["3"]),
    "gpus-per-cell": (2, ["2"]),
    "cells-per-gpu": (2, ["2"]),
    "cpus-per-cell": (2, ["2"]),
    "nodes-per-cell": (2, ["2"]),
    "array-parallelism": (2, ["2"]),
    "set": ({"optim.lr": 0.05, "backbone.stages": [3, 4], "optim.clip": None}, []),
    "dry-run": (True, []),
    "fail-fast": (True, []),
    "no-wait": (True, []),
    "smoke": (True, []),
    "fast": (True, []),
    "reading": ("A", ["A"]),
    "only": ({"kernel_size": [1, 3], "operator": "convolution"}, []),
    "cell": ("12ab", ["12ab"]),
    "seed": (1, ["1"]),
    "emit-wandb-sweep": ("sweep.yaml", ["sweep.yaml"]),
    "force": (True, []),
}
LISTS = {
    "set": ["--set", "optim.lr=0.05", "--set", "backbone.stages=3,4", "--set", "optim.clip=null"],
    "only": ["--only", "kernel_size=1,3", "--only", "operator=convolution"],
}


def test_every_flag_is_tested_here() -> None:
    flags = {action.option_strings[-1].removeprefix("--") for action in cli.make_parser(SWEEP)._actions}
    assert flags - {*ONLY_TYPED, "help"} == SAME.keys()


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("spelling", ["-", "_"])
def test_a_flag_in_a_file_is_the_flag_on_a_command_line(name: str, spelling: str, file: Path) -> None:
    value, words = SAME[name]
    file.write_text(yaml.safe_dump({name.replace("-", spelling): value}, sort_keys=False).replace("'", ""))
    typed = options(*LISTS.get(name, [f"--{name}", *words]))
    assert options("--config", str(file)) == typed != options()


def test_flags_that_are_typed_replace_those_of_the_file(file: Path) -> None:
    file.write_text(
        "seeds: 2\nsmoke: yes\nwandb: disabled\nonly: {kernel_size: [1, 3], operator: convolution}\n"
        "set: {optim.lr: 0.05, train.epochs: 2, operator.name: [pssa]}\n"
    )
    found = options(
        *("--config", str(file), "--seeds", "4", "--wandb", "offline", "--only", "kernel_size=5"),
        *("--set", "optim.lr=0.1", "--set", "operator.name=involution"),
    )
    assert (found.seeds, found.smoke, found.wandb) == (4, True, "offline"), "also where a flag repeats its default"
    assert found.only == {"kernel_size": ["5"], "operator": ["convolution"]}
    assert sorted(found.settings) == [
        ("operator.name", "involution"), ("operator.name", "pssa"), ("optim.lr", "0.1"), ("train.epochs", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sedes: 3", "sedes; did you mean 'seeds'"),
        ("seeds: many", "seeds; 'many'; whole number"),
        ("smoke: perhaps", "smoke; true or false; 'perhaps'"),
        ("jobs: [1, 2]", "jobs; one value"),
        ("config: other.yaml", "config; command line"),
        ("trust: true", "trust; command line"),
        ("no-wait: true\nno_wait: true", "no-wait; twice"),
        ("set: {optim.lrr: 1}", "optim.lrr; did you mean 'lr'"),
        ("only: {kernel_sise: 1}", "kernel_sise; did you mean 'kernel_size'"),
        ("set: 3", "--set; PATH=VALUE"),
        ("- seeds", "names of flags; not list"),
        ("", "names of flags; not"),
        ("{", "not YAML"),
        ("3: 4", "seeds; flags"),
        ("set: {operator.name: 'os:system'}", "'os:system'; --trust"),
        ("set: ['operator.name=os:system']", "'os:system'; --trust"),
        ("set: {operator.name: [pssa, 'os:system']}", "'os:system'; --trust"),
        ("set: {data.name: 'os:system'}", "'os:system'; --trust"),
        ("set: {backbone.name: 'os:system'}", "'os:system'; --trust"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_and_writes_nothing(text: str, words: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as error:
        cli.command(SWEEP, ["--config", str(file), "--out", str(file.parent / "runs"), "--dry-run"])
    assert all(word in str(error.value) for word in words.split("; ")), error.value
    assert "\n" not in str(error.value) and [*file.parent.iterdir()] == [file]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read --config .*nothing.yaml': No such file"):
        options("--config", str(tmp_path / "nothing.yaml"))


def test_a_trusted_file_may_name_a_class(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("set: {operator.name: 'package.module:Mine'}\nonly: {kernel_size: 1, operator: Mine}\nseeds: 1\n")
    assert cli.command(SWEEP, ["--config", str(file), "--trust", "--dry-run"]) == 0
    assert "Mine kernel_size=1 seed=0" in capsys.readouterr().out


def test_all_sweeps_take_a_file_that_names_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("sweeps: [operator, stage]\nseeds: 1\ndry-run: true\n")
    assert ablations.all.command(["--config", str(file), "--out", str(file.parent)]) == 0
    shown = capsys.readouterr().out
    assert "operator: 11 cells" in shown and "stage: " in shown and "kernel_size: " not in shown


@pytest.mark.parametrize(
    ("only", "flags", "rows"),
    [
        ("xvolution", (), {"xvolution"}),
        (DOTTED, (), {"xvolution"}),
        ("XVolution", ("--set", f"operator.name={DOTTED}"), {"XVolution"}),
        (DOTTED, ("--set", f"operator.name={DOTTED}"), {"XVolution"}),
        ("a.b:Mine", ("--set", "operator.name=a.b:Mine"), {"Mine"}),
        ("Mine,convolution", ("--set", "operator.name=a.b:Mine"), {"Mine", "convolution"}),
        (f"a.b:Mine,{DOTTED}", ("--set", "operator.name=a.b:Mine"), {"Mine", "xvolution"}),
        ("pssa", ("--set", "operator.name=pssa"), {"pssa"}),
    ],
)
def test_only_takes_every_spelling_of_an_operator(
    only: str, flags: tuple[str, ...], rows: set[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    typed = ["--dry-run", "--out", str(tmp_path), "--seeds", "1", "--only", f"operator={only}", *flags]
    assert cli.command(SWEEP, typed) == 0
    assert {line.split()[2] for line in capsys.readouterr().out.splitlines()[:-1]} == rows


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--only", "operator=pssa"), "operator=pssa; --set operator.name=pssa adds this row"),
        (("--only", "operator=a.b:Mine"), "a.b:Mine; --set operator.name=a.b:Mine adds this row"),
        (
            ("--only", "operator=d.e:Mine", "--set", "operator.name=a.b:Mine"),
            "d.e:Mine; --set operator.name=d.e:Mine adds this row",
        ),
        (("--only", "operator=xvolutoin"), "xvolutoin; did you mean 'xvolution'"),
        (("--set", "operator.name=a.b:C", "--set", "operator.name=d.e:C"), "d.e:C; a.b:C; 'C'; choose one"),
    ],
)
def test_a_row_that_is_not_there_or_there_twice_is_one_sentence(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError) as error:
        cli.command(SWEEP, ["--dry-run", *flags])
    assert all(word in str(error.value) for word in words.split("; ")), error.value
