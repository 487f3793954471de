"""A network as one graph for any batch, height and width, in ONNX or as a saved `torch.export` program.

Both begin with the same traced program, in which the kernels take a path of their own that looks at no size
(`kernels/gathered.py`). What is checked is what is written: the bytes are loaded again and run at several sizes beside
the network that was trained.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lightning_xvol.errors import UserError, first_line
from lightning_xvol.fusion import AtomicXVolution, fuse
from lightning_xvol.fusion.report import Difference, difference

OPSET = 20
INPUT, OUTPUT = "image", "logits"
DYNAMIC = {0: "batch", 2: "height", 3: "width"}
METADATA = "run.json"  # in the archive of torch.export.save

Run = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int, int]


def fused(network: nn.Module) -> tuple[nn.Module, str]:
    """`fuse(network)`, with the batch norms of the blocks where these are known, and what was done in words.

    Raises:
        UserError: where it holds no operator that can be fused.
    """
    try:
        result, norms = fuse(network, block_norms=True), " and the batch norms behind them"
    except UserError:
        try:
            result, norms = fuse(network), ""
        except UserError as error:
            raise UserError(f"{error}; --no-fuse exports the network as it was trained") from error
    count = sum(isinstance(module, AtomicXVolution) for module in result.modules())
    operators = "1 operator" if count == 1 else f"{count} operators"
    return result, f"fused {operators}{norms} (--no-fuse exports the network as it was trained)"


def check_sizes(image_shape: Sequence[int]) -> list[Shape]:
    """Where an export is compared: as trained, and two larger images of odd sides; batches of 2, 1 and 3."""
    channels, height, width = image_shape
    return [
        (2, channels, height, width),
        (1, channels, height + 1, width + 7),
        (3, channels, height + 13, width + 2),
    ]


def trace(network: nn.Module, image_shape: Sequence[int]) -> ExportedProgram:
    """The float32 `network` in eval mode as a graph for images of any size.

    Raises:
        UserError: for a network that cannot be traced, or only at a fixed size.
    """
    channels, height, width = image_shape
    # Larger than trained, and not square: a map of one pixel, or sides that are always equal, would be taken for fixed.
    example = torch.zeros(2, channels, height + 32, width + 40)
    try:
        with _quiet():
            program = torch.export.export(network, (example,), dynamic_shapes=(dict.fromkeys(DYNAMIC, Dim.AUTO),))
    except RuntimeError as error:
        raise UserError(f"torch.export cannot trace the network: {first_line(error)}") from error
    [name] = program.graph_signature.user_inputs
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == name)
    fixed = [label for axis, label in DYNAMIC.items() if str(shape[axis]).isdigit()]  # else it is called s40, or such
    if fixed:
        raise UserError(f"the network works for one {' and '.join(fixed)} only: an operator in it looks at its size")
    return program


def to_onnx(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """`program` as a file of ONNX with axes `batch`, `height`, `width` and `metadata`, of which all but text is JSON.

    Raises:
        UserError: for an operation that ONNX cannot express.
    """
    try:
        with _quiet():
            model = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, verbose=False, dynamic_shapes=(dict(DYNAMIC),),
                input_names=[INPUT], output_names=[OUTPUT],
            )  # fmt: skip
    except RuntimeError as error:
        raise UserError(f"the network cannot be written as ONNX: {first_line(error)}") from error
    if model is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    model.model.metadata_props.update(texts)
    return bytes(model.model_proto.SerializeToString())


def to_archive(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """`program` as `torch.export.load` reads it, with `metadata` in the extra file `METADATA`."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata)})
    return buffer.getvalue()


def load_onnx(content: bytes) -> Run:
    """The model in onnxruntime, on the CPU and one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors: the optimiser comments on its own work
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        [logits] = session.run([OUTPUT], {INPUT: image.numpy()})
        return torch.from_numpy(numpy.asarray(logits))

    return run


def load_archive(content: bytes) -> Run:
    """The saved program. It refuses images so small that a map in the network has a single row or column."""
    program = torch.export.load(io.BytesIO(content)).module()

    def run(image: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                logits: Tensor = program(image)
        except AssertionError as error:
            size = "x".join(map(str, image.shape))
            raise UserError(f"the program does not take images of {size} ({first_line(error)}); onnx does") from error
        return logits

    return run


def compare(run: Run, network: nn.Module, shapes: Sequence[Shape]) -> Difference:
    """The largest difference of the exported model from `network` over random images of these shapes."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(shape, generator=generator) for shape in shapes]
    with torch.no_grad():
        return difference([run(image) for image in images], [network(image) for image in images])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
