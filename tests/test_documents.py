"""Every code block of README, CONTRIBUTING and docs/ runs as it stands there, in a copy of the checkout.

A block must name its language:

- `python`: executed. If the first line is a comment with a file name, the block is saved there for later commands.
- `yaml`: saved, by the file name in the first line.
- `bash`: executed command by command, in the order of the page, with the changes below.
- `text`: a formula, a tree or an output. Nothing runs.

A command is changed only where it would take minutes, reach the network or need files that a reader has:

- A sweep, `fit`, `benchmarks` and `dashboard` get `--dry-run`, and `make` gets `-n`.
- Commands in `OUTSIDE` install or upload something. They do not run.
- `--source` finds a copy of the ledger that docs/tour.ipynb makes, for any folder or W&B project that it names.
- `analysis compare` finds in it runs with the settings that it names, and in its second ledger another learning rate.
- `--checkpoint` finds a checkpoint of that ledger, and `--image` a picture.
- Commands that match `LONG` get `--help`. `make test-smoke` runs them as they are.

Commands in the middle of a sentence must exist: they get `--dry-run` where they have it, and `--help` otherwise.
docs/walkthrough.md is run from its beginning to its end by tests/analysis/test_walkthrough.py.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.analysis.compared_runs import add_settings

ROOT = Path(__file__).parent.parent
WALKTHROUGH = ROOT / "docs" / "walkthrough.md"
TOUR = ROOT / "docs" / "tour.ipynb"
PAGES = sorted((*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "reproduction").glob("*.md")))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
RUN = [path for path in DOCUMENTS if path != WALKTHROUGH]
OUTSIDE = ("pip ", "conda ", "wandb ", "python -m pip ", "python -m venv ", "eval ")
LONG = re.compile(r"--paper\b|lightning_xvol (diagram|export|predict|visualize)|--smoke|train\.epochs=1\b")
DRY = re.compile(r"python -m (ablations\.\w+|benchmarks|lightning_xvol fit|analysis dashboard)\b")
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
DETECTOR = (
    "--recipe shapes_faster_rcnn --smoke --seeds 1 --wandb disabled --set train.steps=2 --set data.limit=8 "
    "--set data.options.train_size=8 --set data.options.validation_size=4"
)


@dataclass(frozen=True)
class Block:
    """A code block, or code in the middle of a sentence (`kind` is `inline`)."""

    kind: str
    text: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text()):
        line = (token.map or [0])[0] + 1
        if token.type in ("fence", "code_block"):
            yield Block(token.info, token.content, line)
        for child in token.children or []:
            if child.type == "code_inline":
                yield Block("inline", child.content, line)


def commands(block: Block) -> list[str]:
    """The commands of a block of bash, or the one command in the middle of a sentence, but those of `OUTSIDE`."""
    if block.kind not in ("bash", "inline"):
        return []
    lines = [line.strip() for line in block.text.replace("\\\n", " ").splitlines()]
    found = [re.sub(r"\s+#.*|^#.*", "", line).removeprefix(".venv/bin/") for line in lines]
    if block.kind == "inline":
        found = [line for line in found if line.startswith(("python -m ", "make "))]
    return [line for line in found if line and not line.startswith(OUTSIDE)]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, with the runs of the tour in `runs-smoke`."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    run(shlex.join(["python", "-c", "\n".join(tour_cells())]), folder / "docs")
    return folder


def tour_cells() -> list[str]:
    """The code cells of the notebook."""
    cells = json.loads(TOUR.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run(command: str, folder: Path) -> str:
    """The output of a command, which must succeed."""
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def prepared(command: str, folder: Path) -> str:
    """`command` with the changes that the top of this file lists."""
    if command.startswith("make "):
        return command.replace("make", "make -n", 1)
    words = command.replace("<name>", "kernel_size").split()
    for index, word in enumerate(words[1:] if "--help" not in words else ()):
        if word == "--source":
            name = words[index + 2] = words[index + 2].replace("wandb:", "server/")
            shutil.copytree(folder / "runs-smoke", folder / name, dirs_exist_ok=True)
        elif word == "--checkpoint":
            words[index + 2] = checkpoint(folder, detector="predict" in words and "--top" not in words)
        elif word == "--image":
            draw_picture(folder / words[index + 2])
    if "compare" in words and "--help" not in words:
        make_comparable(folder, words)
    return " ".join(words)


def make_comparable(folder: Path, words: list[str]) -> None:
    """Give the ledgers of a command `compare` runs that differ in their settings."""
    sources = [folder / name for flag, name in itertools.pairwise(words) if flag == "--source"]
    sides = [side.split() for side in re.findall(r"--set ((?:[\w.]+=\S+ ?)+)", " ".join(words))]
    for side in sides:
        add_settings(sources[0], *(setting.split("=", 1) for setting in side))
    if not sides:
        add_settings(sources[1], ("optim.lr", 0.05), replace_plans=True)


def shortened(command: str, kind: str) -> str:
    """`command`, or the one that stands for it in `make test`."""
    if command.startswith("make ") or "--help" in command:
        return command
    if DRY.match(command):
        return command if re.search("--dry-run|--emit-wandb-sweep", command) else f"{command} --dry-run"
    return f"{command} --help" if kind == "inline" or LONG.search(command) else command


def checkpoint(folder: Path, detector: bool) -> str:
    for path in sorted((folder / "runs-smoke").glob("cells/*/checkpoints/*.ckpt")):
        config = (path.parents[1] / "config.yaml").read_text()
        if ("shapes_coco" in config) == detector and ("name: xvolution" in config) != detector:
            return str(path.relative_to(folder))
    raise AssertionError("the prepared ledger has no such checkpoint")


def draw_picture(path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((64, 64)).save(path)


def run_page(document: Path, folder: Path, long: bool) -> None:
    """Run the blocks of a page: the long commands as they are, or everything with the long ones shortened."""
    for block in blocks(document):
        place = f"{document.name}, line {block.line}"
        assert block.kind in ("python", "yaml", "bash", "text", "inline"), (
            f"{place}: nobody knows how to run {block.kind!r}"
        )
        file = FILE.match(block.text)
        try:
            if block.kind in ("python", "yaml") and file:
                (folder / file[1]).write_text(block.text)
            elif block.kind == "python" and not long:
                run(shlex.join(["python", "-c", block.text]), folder)
            for command in commands(block):
                if not long:
                    run(prepared(shortened(command, block.kind), folder), folder)
                elif LONG.search(command) and block.kind == "bash":
                    run(prepared(command, folder), folder)
        except AssertionError as error:
            raise AssertionError(f"{place}: {error}") from None


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_every_code_block_runs(document: Path, checkout: Path) -> None:
    run_page(document, checkout, long=False)


@pytest.mark.smoke
@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_long_commands_run(document: Path, checkout: Path) -> None:
    """A detector is trained first, where a page needs one."""
    if document.name in ("analysis.md", "detection.md"):
        run(f"python -m ablations.operator --only operator=convolution {DETECTOR}", checkout)
    run_page(document, checkout, long=True)


def test_tour_goes_from_a_sweep_to_a_table_and_a_figure(checkout: Path) -> None:
    """The fixture ran its cells, in the folder where Jupyter runs them."""
    assert (checkout / "runs-smoke" / "tour.pdf").read_bytes().startswith(b"%PDF")
    assert "X-volution" in (checkout / "runs-smoke" / "kernel_size" / "table.md").read_text()


def test_tour_is_stored_with_its_outputs() -> None:
    outputs = [output for cell in json.loads(TOUR.read_text())["cells"] for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_readme_has_at_most_120_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_glossary_has_at_most_ten_words() -> None:
    rows = re.findall(r"^\| (\w+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.M)
    assert 0 < len(rows) - 1 <= 10  # the first is the heading


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        name, _, anchor = target.partition("#")
        if "://" in target:
            continue
        page = document.parent / name if name else document
        assert page.exists(), f"{document.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)", page.read_text(), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document.name}: {target}"
