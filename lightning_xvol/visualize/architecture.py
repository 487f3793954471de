"""The network that a configuration builds: stages, blocks, layers and their cost, as in the paper's Table 5.

The network is built on the meta device, with the number of classes and the image shape that its data set declares
(`lightning_xvol.data.declared_shape`). So nothing is computed, and no data are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_xvol.backbones import count_parameters, count_taps, trace
from lightning_xvol.backbones.cost import ModuleRun
from lightning_xvol.backbones.strides import STAGES, Block, stage_blocks
from lightning_xvol.backbones.taps import TapCount, outside
from lightning_xvol.commandline import columns
from lightning_xvol.config import registry
from lightning_xvol.config.resolved import SCHEMA, resolve
from lightning_xvol.config.schema import RunConfig, to_dict
from lightning_xvol.data import declared_shape
from lightning_xvol.errors import UserError
from lightning_xvol.training.tasks import task_of

_LAYERS = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def describe(config: RunConfig, data_dir: Path | None = None) -> dict[str, Any]:
    """The network of `config` as plain values.

    Keys of the description:

    * `schema`, `group_id`;
    * `operator`, `backbone`, `data`: `name`, `label` and the fields of the configuration; `data` also has `num_classes`
      and `image_shape`;
    * `params`, and `macs` of one image;
    * `taps`, a list: how many taps of the operators can ever be inside the map (`lightning_xvol.backbones.taps`);
    * `stages`, a list.

    Keys of a stage: `name` (conv1, conv2_x .. conv5_x, head), `output` (height, width), `channels`, `blocks` (their
    number), `summary` (as in Table 5, without the number of blocks), `params`, `macs`, `layers`.

    Keys of a layer: `path`, `kind`, `name`, `channels`, `kernel_size`, `stride`, `output` (channels, height, width),
    `params`, `macs`.

    Shortcuts and batch norms are not layers, but count in `params` and `macs` of their stage. The head's summary ends
    in softmax, which is part of the loss. A detector is described by its backbone; the feature pyramid is the head.

    Raises:
        UserError: for a configuration that cannot be built.
    """
    config = resolve(config)
    num_classes, image_shape = declared_shape(config.data, data_dir)
    model, runs = _build(config, num_classes, image_shape)
    values = to_dict(config)
    named = {kind: {"label": registry.label(kind, values[kind]["name"]), **values[kind]} for kind in registry.KINDS}
    named["data"] |= {"num_classes": num_classes, "image_shape": list(image_shape)}
    return {
        "schema": SCHEMA,
        "group_id": config.group_id,
        **named,
        "params": count_parameters(model),
        "macs": sum(run.macs for run in runs),
        "taps": [{**vars(count), "never": list(count.never)} for count in count_taps(model, runs)],
        "stages": _Network(config, model, runs).stages(),
    }


def _build(config: RunConfig, num_classes: int, image_shape: tuple[int, int, int]) -> tuple[nn.Module, list[ModuleRun]]:
    task = task_of(config)

    def build() -> nn.Module:
        return task.body(task.network(config, num_classes, image_shape[0]))

    try:
        try:
            with torch.device("meta"):
                model = build()
            return model, trace(model, image_shape)
        except (RuntimeError, NotImplementedError):  # an operator that does not run on the meta device
            model = build()
            return model, trace(model, image_shape)
    except UserError:
        raise
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"cannot build {config.operator.name!r} in {config.backbone.name!r} for {config.data.name!r}: "
            f"{type(error).__name__}: {first_line}"
        ) from error


@dataclass(frozen=True)
class _Network:
    """The built model and the forward passes of its modules."""

    config: RunConfig
    model: nn.Module
    runs: Sequence[ModuleRun]

    def stages(self) -> list[dict[str, Any]]:
        """conv1, conv2_x .. conv5_x and the head, in the order of the network."""
        found = [(stage, path, blocks) for stage, path, blocks, _ in stage_blocks(self.model, STAGES) if blocks]
        inside = [index for index, run in enumerate(self.runs) if any(_below(run.path, path) for _, path, _ in found)]
        stem, head = self._leaves(self.runs[: inside[0]]), self._leaves(self.runs[inside[-1] + 1 :])
        pools = [layer for layer in stem if layer["kind"].endswith("pool")]
        stages = [
            self._stage(stage, path, blocks, pools if stage == STAGES[0] else []) for stage, path, blocks in found
        ]
        last = self._head(head)
        first = self._stem([layer for layer in stem if layer not in pools])
        for key, total in (("params", count_parameters(self.model)), ("macs", sum(run.macs for run in self.runs))):
            # Batch norms between the stages, and all else that is not a layer, count in the first stage.
            first[key] = total - sum(stage[key] for stage in [*stages, last])
        return [first, *stages, last]

    def _stem(self, layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        channels, *size = layers[-1]["output"]
        return {
            "name": "conv1",
            "output": size,
            "channels": channels,
            "blocks": 1,
            "summary": "; ".join(map(_with_stride, layers)),
            "layers": list(layers),
        }

    def _stage(self, stage: int, path: str, blocks: Sequence[Block], pools: list[dict[str, Any]]) -> dict[str, Any]:
        by_block = [self._block(stage, block) for block in blocks]
        layers = [layer for block in by_block for layer in block]
        texts = ["; ".join(f"{layer['name']}, {layer['channels']}" for layer in block) for block in by_block]
        bodies = [f"[{text}]" for text in dict.fromkeys(texts)]
        channels, *size = self._output(path)
        return {
            "name": f"conv{stage}_x",
            "output": size,
            "channels": channels,
            "blocks": len(blocks),
            "summary": "; ".join([*map(_with_stride, pools), *bodies]),
            "params": count_parameters(self.model.get_submodule(path)),
            "macs": self._macs(path),
            "layers": [*pools, *layers],
        }

    def _block(self, stage: int, block: Block) -> list[dict[str, Any]]:
        """The layers of `block`: its convolutions, and the operator if this stage has it."""
        second = self._layer(f"{block.path}.conv2", block.second)
        operator = self.config.operator
        if stage in self.config.backbone.stages:
            stride = block.second.stride if isinstance(getattr(block.second, "stride", None), int) else None
            second |= {"kind": "operator", "name": registry.label("operator", operator.name), "stride": stride}
            if operator.name == "convolution":
                size = operator.options["kernel_size"]
                second |= {"kind": "convolution", "name": f"{size}x{size}", "kernel_size": [size, size]}
        layers, last = [self._layer(f"{block.path}.conv1", block.first), second], f"{block.path}.conv3"
        return [*layers, self._layer(last, self.model.get_submodule(last))] if block.bottleneck else layers

    def _head(self, layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        pools = [layer for layer in layers if layer["kind"].endswith("pool")]
        channels, *size = pools[-1]["output"] if pools else (*layers[-1]["output"], 1, 1)[:3]
        parts = [_with_stride(layer) if layer["kind"] == "max_pool" else layer["name"] for layer in layers]
        return {
            "name": "head",
            "output": size,
            "channels": channels,
            "blocks": 1,
            "summary": ", ".join([*parts, "softmax"] if layers[-1]["kind"] == "linear" else parts),
            "params": sum(layer["params"] for layer in layers),
            "macs": sum(layer["macs"] for layer in layers),
            "layers": list(layers),
        }

    def _leaves(self, runs: Iterable[ModuleRun]) -> list[dict[str, Any]]:
        modules = {run.path: self.model.get_submodule(run.path) for run in runs}
        operators = [path for path, module in modules.items() if callable(getattr(module, "macs", None))]
        inside = {path for path in modules for root in operators if path != root and _below(path, root)}
        return [
            self._layer(path, module)
            for path, module in modules.items()
            if path not in inside and (isinstance(module, _LAYERS) or path in operators)
        ]

    def _layer(self, path: str, module: nn.Module) -> dict[str, Any]:
        output = self._output(path)
        common = {
            "path": path,
            "channels": output[0],
            "kernel_size": None,
            "stride": None,
            "output": list(output),
            "params": count_parameters(module),
            "macs": self._macs(path),
        }
        if isinstance(module, nn.Linear):
            return {"kind": "linear", "name": f"{module.out_features}-d fc", **common}
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return {"kind": "average_pool", "name": "average pool", **common}
        size = getattr(module, "kernel_size", None)
        if not isinstance(module, _LAYERS) or size is None:
            every = self.config.backbone.places == "every"
            name = registry.label("operator", self.config.operator.name) if every else type(module).__name__
            return {"kind": "operator", "name": name, **common}
        size, stride = _pair(size), _pair(module.stride)
        common |= {"kernel_size": list(size), "stride": stride[0]}
        text = f"{size[0]}x{size[1]}"
        if isinstance(module, nn.Conv2d):
            return {"kind": "convolution", "name": text, **common}
        kind = "max_pool" if isinstance(module, nn.MaxPool2d) else "average_pool"
        return {"kind": kind, "name": f"{text} {kind.replace('_', ' ')}", **common}

    def _output(self, path: str) -> tuple[int, ...]:
        """Shape of one image's output at `path`, without the batch."""
        output = next(run.output for run in reversed(self.runs) if run.path == path)
        if output is None:
            raise UserError(f"{path} of {self.config.backbone.name!r} returns no tensor, so its size is unknown")
        return output[1:]

    def _macs(self, path: str) -> int:
        return sum(run.macs for run in self.runs if _below(run.path, path))


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _with_stride(layer: Mapping[str, Any]) -> str:
    """`7x7, 64, stride 2` for a convolution, `3x3 max pool, stride 2` for a pool; stride 1 is left out."""
    channels = f", {layer['channels']}" if layer["kind"] == "convolution" else ""
    stride = f", stride {layer['stride']}" if (layer["stride"] or 1) > 1 else ""
    return f"{layer['name']}{channels}{stride}"


def to_text(description: Mapping[str, Any]) -> str:
    """The description for a terminal: a heading, one line per stage, and the sums."""
    operator, backbone, data = (description[kind] for kind in ("operator", "backbone", "data"))
    shape = " x ".join(map(str, data["image_shape"]))
    outputs = "output channels" if registry.lookup("data", data["name"]).task == "regression" else "classes"
    stages = ", ".join(map(str, backbone["stages"]))
    lines = [("stage", "output", "blocks", "layers", "params", "MACs")]
    for stage in description["stages"]:
        size, blocks = "x".join(map(str, stage["output"])), str(stage["blocks"])
        costs = f"{stage['params']:,}", f"{stage['macs']:,}"
        lines.append((stage["name"], size, blocks, stage["summary"], *costs))
    lines.append(("all", "", "", "", f"{description['params']:,}", f"{description['macs']:,}"))
    told = {name: value for name, value in operator["options"].items() if value is not None and value is not False}
    options = ", ".join(f"{name}={value}" for name, value in told.items())
    where = f"stage{'s' if len(backbone['stages']) > 1 else ''} {stages} of {backbone['label']}"
    return "\n".join(
        [
            f"{operator['label']} in {where}; {data['label']}, {shape}, {data['num_classes']} {outputs}",
            f"{operator['name']}({options}); stride in the first 1x1: {'yes' if backbone['stride_in_1x1'] else 'no'}",
            "",
            *columns(lines, right=(4, 5)),
            "",
            "Parameters include batch norms and shortcuts. MACs are the multiply-adds of one image.",
            *_taps(description["taps"]),
        ]
    )


def _taps(counts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines that say how many taps can ever be inside the map, and a warning if some never are."""
    found = [TapCount(**count) for count in counts]
    if found:
        yield ""
        yield "Taps that can be inside the map of their operator:"
        yield from (f"  {count.text()}" for count in found)
    if outside(found):
        yield "warning: the other taps read zeros alone; larger maps or smaller distances would use them"
