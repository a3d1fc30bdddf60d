"""What the formats that are ONNX graphs have in common: tracing, and optimisation that is the same on every machine.

Traced, not taken from torch.export: with torch 2.13 both give the same answers, but the traced graph of a
MobileNetV3-Small has 146 nodes instead of 190 (one pooling node where the other builds it from several), takes 0.4 s
instead of 8, and holds no stack traces with this machine's paths.

Optimised at the `basic` level: constants folded, batch norms merged into convolutions, all in standard operators. The
levels above it choose what fits the CPU at hand, so they belong to the worker, which applies them when it loads.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from errors import BuildError
from serialize.source import Source

# The newest that TensorRT 8.6 and ONNX Runtime 1.13 read; nothing in these networks needs a later one.
OPSET = 17
# ONNX Runtime's errors share no base class but Exception.
REFUSED = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf,
           failures.NotImplemented, failures.RuntimeException)  # fmt: skip


@contextmanager
def refusals() -> Iterator[None]:
    """Raises BuildError for what the exporter or ONNX Runtime refuse."""
    try:
        yield
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError, *REFUSED) as error:
        raise BuildError(f"the ONNX export failed: {str(error).splitlines()[0]}") from None


def export(source: Source, target: Path, opset: int = OPSET) -> None:
    """Writes the network as an optimised graph with a dynamic batch."""
    traced = target.with_suffix(".traced")
    try:
        trace(source, traced, opset)
        optimise(traced, target)
    finally:
        traced.unlink(missing_ok=True)


def trace(source: Source, target: Path, opset: int = OPSET) -> None:
    """Writes the network as it was written in torch."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter says that it is no longer the default one; why it is used all the same stands above.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            source.network,
            (source.example,),
            target,
            input_names=[source.input_name],
            output_names=[source.output_name],
            dynamic_axes={source.input_name: {0: "batch"}, source.output_name: {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )


def optimise(traced: Path, target: Path) -> None:
    """Writes what ONNX Runtime makes of a graph before it looks at the CPU."""
    options = quiet()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])


def session(path: Path) -> onnxruntime.InferenceSession:
    """A graph that can be asked, on one thread."""
    return onnxruntime.InferenceSession(str(path), quiet(), providers=["CPUExecutionProvider"])


def quiet() -> onnxruntime.SessionOptions:
    """One thread; of the log only errors: below them stands advice on saving optimised graphs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options
