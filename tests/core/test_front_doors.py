"""Commands that train nothing load nothing heavy."""

from __future__ import annotations

import doctest
import pkgutil
import subprocess
import sys

import pytest
import yaml

HEAVY = {"torch", "torchvision", "pytorch_lightning", "wandb", "pandas", "scipy", "matplotlib", "sklearn", "numpy"}
# Runs a module as `python -m` does, and at exit prints on stderr which packages it has loaded.
TELL = (
    "import atexit, runpy, sys\n"
    "loaded = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
    "atexit.register(lambda: print('LOADED', *loaded(), file=sys.stderr))\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def run(*arguments: str, code: str = TELL, cwd=None) -> tuple[subprocess.CompletedProcess, set[str]]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)
    [loaded] = [line for line in done.stderr.splitlines() if line.startswith("LOADED")]
    return done, set(loaded.split()[1:])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ["fit", "describe", "export", "list"]),
        (["describe", "--help"], ["--recipe", "--operator", "--set", "--format"]),
        (["diagram", "--help"], ["--operator", "--set", "--figure", "--out"]),
        (["list"], ["xvolution", "small_resnet", "match", "imagenet_resnet50"]),
        (["fit", "--help"], ["--recipe", "--set", "--dry-run", "--wandb", "match_small"]),
        (["fit", "--dry-run", "--set", "optim.lr=0.05"], ["lr: 0.05", "# cell"]),
        (["fit", "--dry-run", "--operator", "package.module:Class"], ["package.module:Class"]),
    ],
)
def test_a_front_door_loads_nothing_heavy(arguments, expected, tmp_path):
    done, loaded = run("lightning_xvol", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lightning_xvol" in loaded and not loaded & HEAVY
    assert all(text in done.stdout for text in expected)
    assert not list(tmp_path.iterdir())


def test_importing_the_packages_loads_nothing_heavy():
    code = TELL.partition("sys.argv")[0] + "import lightning_xvol, lightning_xvol.operators; dir(lightning_xvol)"
    done, loaded = run(code=code)
    assert done.returncode == 0 and "lightning_xvol" in loaded and not loaded & HEAVY


def test_the_public_names_load_on_first_use_and_none_hides_a_module():
    import lightning_xvol
    from lightning_xvol import backbones, operators
    from lightning_xvol.config import registry
    from lightning_xvol.training import run as training

    assert lightning_xvol.build_operator is operators.build_operator
    assert lightning_xvol.replace_operators is backbones.replace_operators
    assert lightning_xvol.OPERATORS is registry.OPERATORS
    assert lightning_xvol.train is training.train
    modules = {module.name for module in pkgutil.iter_modules(lightning_xvol.__path__)}
    for name in lightning_xvol.__all__:
        assert getattr(lightning_xvol, name).__doc__ and name in dir(lightning_xvol) and name not in modules
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lightning_xvol.nonsense


def test_the_example_of_the_package_runs_as_it_is_written():
    import lightning_xvol

    failed, attempted = doctest.testmod(lightning_xvol)
    assert attempted == 5 and not failed


def test_mistakes_are_reported_without_loading_anything_heavy(tmp_path):
    for arguments in (
        ["fit", "--operator", "convolutoin"],
        ["fit", "--set", "optim.lrr=1"],
        ["fit", "--seed", "-1"],
        ["describe", "--recipe", "x"],
        ["benchmark", "--core"],
    ):
        done, loaded = run("lightning_xvol", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and not loaded & HEAVY


def test_a_dry_run_prints_the_whole_configuration_which_works_as_a_file(command, tmp_path):
    from lightning_xvol.config.recipes import RECIPES
    from lightning_xvol.config.resolved import resolve
    from lightning_xvol.config.schema import from_dict
    from lightning_xvol.ledger.record import cell_id, group_id

    first = command("fit", "--operator", "xvolution", "--set", "operator.kernel_size=5", "--seed", "3", "--dry-run")
    assert first.returncode == 0, first.stderr
    config = from_dict(yaml.safe_load(first.stdout))
    assert config == resolve(config) and (config.seed, config.operator.options["kernel_size"]) == (3, 5)
    assert f"# cell {cell_id(config)}, group {group_id(config)}, folder runs/cells/{cell_id(config)}" in first.stdout
    assert config.optim == RECIPES["match_small"].config().optim
    (tmp_path / "config.yaml").write_text(first.stdout)
    again = command("fit", "--recipe", "digits_small", "--config", str(tmp_path / "config.yaml"), "--dry-run")
    assert again.stdout == first.stdout


def test_flags_override_the_file_and_the_file_overrides_the_recipe(command, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("optim: {lr: 0.3, warmup: 0.2}\noperator: {name: pssa, options: {form: hadamard}}\nseed: 4\n")
    printed = command(
        "fit", "--operator", "xvolution", "--config", str(path), "--set", "optim.lr=0.5", "--seed", "5", "--dry-run"
    ).stdout
    values = yaml.safe_load(printed)
    assert values["optim"]["lr"] == 0.5 and values["optim"]["warmup"] == 0.2 and values["optim"]["momentum"] == 0.9
    assert values["operator"]["name"] == "pssa" and values["operator"]["options"]["form"] == "hadamard"
    assert values["seed"] == 5


def test_fit_trains_from_a_file_records_and_does_not_train_twice(command, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {batch_size: 8, options: {train_size: 16, validation_size: 8, test_size: 8}}\ntrain: {steps: 2}\n"
    )
    arguments = ["fit", "--config", str(path), "--wandb", "disabled", "--out", "ledger"]
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    [cell] = (tmp_path / "work" / "ledger" / "cells").iterdir()
    assert (cell / "result.json").exists()
    assert f"finished; record in ledger/cells/{cell.name}/result.json" in first.stdout
    assert "top1 " in first.stdout
    saved = yaml.safe_load((cell / "config.yaml").read_text())
    assert saved["data"]["options"]["train_size"] == 16 and saved["train"]["steps"] == 2
    changed = (cell / "result.json").stat().st_mtime_ns
    again = command(*arguments)
    assert again.stdout == first.stdout and (cell / "result.json").stat().st_mtime_ns == changed
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["ledger"]
