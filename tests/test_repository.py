"""What the repository promises about itself: pins that agree, a wheel of one package, files of a readable length."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, list[Version]]:
    """The pinned versions of each name. A name may have several, each for other platforms or versions of Python."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.txt").read_text(), re.M):
        found.setdefault(name, []).append(Version(version))
    return found


def direct() -> list[Requirement]:
    groups = PROJECT["dependency-groups"]
    return [Requirement(line) for line in [*PROJECT["project"]["dependencies"], *groups["suite"], *groups["dev"]]]


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_pinned_at_or_above_its_floor(requirement: Requirement) -> None:
    assert requirement.name in pins()
    for version in pins()[requirement.name]:
        assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"


def test_pins_have_hashes_and_no_addresses() -> None:
    text = (ROOT / "requirements.txt").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_conda_environment_has_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-r requirements.txt"]
    python = next(item for item in environment["dependencies"] if str(item).startswith("python="))
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains(python.partition("=")[2])


def test_pinned_torch_is_the_version_that_torchvision_needs() -> None:
    needed = next(Requirement(line) for line in requires("torchvision") or [] if Requirement(line).name == "torch")
    assert all(needed.specifier.contains(version) for version in pins()["torch"])


def test_malicious_lightning_releases_are_excluded() -> None:
    floor = next(requirement for requirement in direct() if requirement.name == "pytorch-lightning")
    assert not any(floor.specifier.contains(version) for version in ("2.6.2", "2.6.3"))


def test_wheel_contains_only_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", os.fspath(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lightning_xvol"}


def tracked_python_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def test_no_python_file_is_over_400_lines() -> None:
    long = {path.name: count for path in tracked_python_files() if (count := len(path.read_text().splitlines())) > 400}
    assert not long


def test_no_file_holds_the_marks_of_an_unfinished_merge() -> None:
    found = subprocess.run(["git", "grep", "-nIE", "^(<{7}|>{7}) "], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 1, found.stdout + found.stderr
