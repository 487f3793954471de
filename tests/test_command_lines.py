"""What all command lines have in common: help that fits and explains, one spelling of each flag, completion."""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import ablations.__main__
import ablations.all
import analysis.__main__
import benchmarks.flags
import benchmarks.gpu_check.__main__
import lightning_xvol.__main__
from ablations.engine import cli
from ablations.engine.catalogue import sweeps
from lightning_xvol.commandline import WIDTH, Parser

ROOT = Path(__file__).parent.parent


def whole(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """`parser` and the parsers of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from whole(command)


TOPS = [
    lightning_xvol.__main__.make_parser(),
    analysis.__main__.build_parser(),
    benchmarks.flags.make_parser(),
    benchmarks.gpu_check.__main__.make_parser(),
    ablations.__main__.make_parser(),
    ablations.all.make_parser(),
    *(cli.make_parser(sweep) for sweep in sweeps().values()),
]
PARSERS = {parser.prog: parser for top in TOPS for parser in whole(top)}


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> argparse.ArgumentParser:
    return PARSERS[request.param]


def test_every_command_is_here() -> None:
    entries = {
        str(path.relative_to(ROOT)).removesuffix(".py").replace("/", ".").removesuffix(".__main__")
        for package in ("lightning_xvol", "ablations", "analysis", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert {f"python -m {entry}" for entry in entries} == {top.prog for top in TOPS}
    assert len(PARSERS) > len(TOPS) > 15


@pytest.mark.parametrize("columns", ["100", "250"])
def test_help_fits_the_terminal_and_a_page(
    parser: argparse.ArgumentParser, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    longest = max(map(len, parser.format_help().splitlines()))
    assert longest <= min(int(columns), WIDTH)


def test_help_explains_the_command_and_every_flag(parser: argparse.ArgumentParser) -> None:
    assert parser.description and re.match(r"[A-Z]", parser.description) and parser.description.endswith(".")
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help and len(action.help.split()) > 1 and not action.help.endswith("."), action
            assert re.match(r"[a-z0-9]|[A-Z]\S*[A-Z]", action.help), "a capital stands in a name alone"
            continue
        listed = {choice.dest: choice.help for choice in action._choices_actions}
        assert listed.keys() == action.choices.keys() and all(listed.values())


def test_every_flag_that_names_a_result_is_called_out(parser: argparse.ArgumentParser) -> None:
    flags = {flag for action in parser._actions for flag in action.option_strings}
    assert "--output" not in flags and "-o" not in flags
    assert {flag for flag in flags if re.match(r"--(out|target|result|save|to\b|write)", flag)} <= {"--out"}


@pytest.mark.parametrize("top", [top for top in TOPS if "--help" in top.format_help()], ids=lambda top: top.prog)
def test_the_old_spelling_of_out_still_works(top: Parser) -> None:
    for command in whole(top):
        if "--out" not in {flag for action in command._actions for flag in action.option_strings}:
            continue
        words = command.prog.removeprefix(top.prog).split()
        for action in command._actions:
            if action.required and action.dest != "out":
                words += [action.option_strings[0], str((action.choices or ["some"])[0])]
        for spelling in (["--out", "a/b=c"], ["--out=a/b=c"], ["--output", "a/b=c"], ["--output=a/b=c"]):
            words = [word for word in words if not word.startswith("--out")]
            assert str(top.parse_args([*words, *spelling]).out) == "a/b=c"


def completions(line: str) -> set[str]:
    """What argcomplete answers to a shell whose cursor stands at the end of `line`."""
    _, _, module, *words = line.split(" ")
    code = (
        "import os, sys, importlib, argcomplete\n"
        "sys.argv = sys.argv[1:]\n"
        "import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    reader, writer = os.pipe()
    environment = {
        **os.environ, "_ARGCOMPLETE": "3", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
        "_ARGCOMPLETE_STDOUT_FILENAME": f"/proc/self/fd/{writer}", "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", code, module, *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, pass_fds=[writer], capture_output=True, timeout=60)
    os.close(writer)
    with os.fdopen(reader) as answers:
        found = answers.read()
    assert done.returncode == 0 and not done.stdout, done
    return set(found.split("\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -m lightning_xvol ", {"fit", "list", "predict"}),
        ("python -m lightning_xvol fit --recipe imagenet_", {"imagenet_resnet34", "imagenet_resnet50"}),
        ("python -m lightning_xvol fit --set optim.l", {"optim.lr="}),
        ("python -m lightning_xvol describe --operator xvolution_", {"xvolution_sa", "xvolution_inv"}),
        ("python -m ablations.kernel_size --only operator=x", {"operator=xvolution", "operator=xvolution_static"}),
        ("python -m ablations.all --recipe shapes_m", {"shapes_mask_rcnn"}),
        ("python -m analysis tab", {"tables"}),
        ("python -m benchmarks ne", {"network"}),
    ],
)
def test_the_shell_completes_commands_flags_and_names(line: str, expected: set[str]) -> None:
    pytest.importorskip("argcomplete", reason="the extra `completion` is not installed")
    assert expected <= completions(line)


def test_a_question_of_the_shell_never_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    with pytest.raises(SystemExit) as ended:
        TOPS[0].parse_args(["list"])
    assert ended.value.code == 1 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("top", TOPS, ids=lambda top: top.prog)
def test_argcomplete_finds_its_mark_at_the_top_of_every_command(top: Parser) -> None:
    path = ROOT / Path(*top.prog.split()[2].split("."))
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert file.read_text().startswith("# PYTHON_ARGCOMPLETE_OK\n")


def test_list_aligns_its_columns_and_wraps_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_xvol.config import registry
    from lightning_xvol.config.recipes import RECIPES

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(stream: io.StringIO) -> list[str]:
        monkeypatch.setattr("sys.argv", ["lightning_xvol", "list"])
        with redirect_stdout(stream):
            assert lightning_xvol.__main__.main() == 0
        return stream.getvalue().splitlines()

    plain = shown(io.StringIO())
    entries = {name: entry for kind in registry.KINDS.values() for name, entry in kind.items()}
    names = [name for kind in registry.KINDS.values() for name in kind] + [*RECIPES]
    assert len(plain) == len(names) + len(registry.KINDS) + 2, "a line for each name, and one for the libraries"
    named = [(line, entries[line.split()[0]]) for line in plain[: plain.index("recipes")] if line.split()[0] in entries]
    assert len({line.index(entry.label, len(line.split()[0]) + 4) for line, entry in named}) == 1
    assert len({line.index(f"{next(iter(entry.options))}=") for line, entry in named}) == 1
    monkeypatch.setenv("COLUMNS", "100")
    wrapped = shown(Terminal())
    assert max(map(len, wrapped)) <= 100 and len(wrapped) > len(plain)
    assert " ".join(" ".join(wrapped).split()) == " ".join(" ".join(plain).split())
