"""Export a network as one graph for any batch, height and width: in ONNX, or as a saved `torch.export` program.

Both formats start from the same traced program. In it the kernels take a path that does not depend on the size
(`kernels/gathered.py`). The check runs what is written: it loads the bytes again and compares them with the trained
network at several sizes.
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

ExportedModel = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int, int]


def fused(network: nn.Module) -> tuple[nn.Module, str]:
    """`fuse(network)` and a sentence that says what was done. Batch norms of known blocks are folded too.

    Raises:
        UserError: for a network without an operator that can be fused.
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
    """The shapes at which an export is compared: the trained size and two larger, odd sizes."""
    channels, height, width = image_shape
    return [
        (2, channels, height, width),
        (1, channels, height + 1, width + 7),
        (3, channels, height + 13, width + 2),
    ]


def trace(network: nn.Module, image_shape: Sequence[int]) -> ExportedProgram:
    """The float32 `network` in eval mode as a graph for images of any size.

    Raises:
        UserError: for a network that cannot be traced, or that can be traced only at a fixed size.
    """
    channels, height, width = image_shape
    # Larger than trained and not square: the trace would fix a side of one pixel, and sides that are always equal.
    example = torch.zeros(2, channels, height + 32, width + 40)
    try:
        with _quiet():
            program = torch.export.export(network, (example,), dynamic_shapes=(dict.fromkeys(DYNAMIC, Dim.AUTO),))
    except RuntimeError as error:
        raise UserError(f"torch.export cannot trace the network: {first_line(error)}") from error
    [name] = program.graph_signature.user_inputs
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == name)
    # A free size is a symbol such as s40, a fixed one a number.
    fixed = [label for axis, label in DYNAMIC.items() if str(shape[axis]).isdigit()]
    if fixed:
        raise UserError(
            f"the network works for one {' and '.join(fixed)} only, because an operator in it depends on this size"
        )
    return program


def to_onnx(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """`program` as an ONNX file with free axes `batch`, `height` and `width`.

    Values of `metadata` that are not text are stored as JSON.

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
    """`program` in the format of `torch.export.load`, with `metadata` in the extra file `METADATA`."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata)})
    return buffer.getvalue()


def load_onnx(content: bytes) -> ExportedModel:
    """The model as a function that runs onnxruntime on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # only errors, since the optimiser comments on its own work
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        [logits] = session.run([OUTPUT], {INPUT: image.numpy()})
        return torch.from_numpy(numpy.asarray(logits))

    return run


def load_archive(content: bytes) -> ExportedModel:
    """The saved program as a function. It refuses images so small that some map has a single row or column."""
    program = torch.export.load(io.BytesIO(content)).module()

    def run(image: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                logits: Tensor = program(image)
        except AssertionError as error:
            size = "x".join(map(str, image.shape))
            raise UserError(
                f"the program does not take images of {size} ({first_line(error)}); the ONNX format does"
            ) from error
        return logits

    return run


def compare(run: ExportedModel, network: nn.Module, shapes: Sequence[Shape]) -> Difference:
    """The largest difference of the exported model from `network` over random images of these shapes."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(shape, generator=generator) for shape in shapes]
    with torch.no_grad():
        return difference([run(image) for image in images], [network(image) for image in images])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings and logs of the exporters, which are about their own internals."""
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
