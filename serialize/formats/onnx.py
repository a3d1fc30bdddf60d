"""`onnx`: a graph with a dynamic batch, optimised offline as far as that is the same on every machine.

Traced, not taken from torch.export: with torch 2.13 both give the same answers, but the traced graph of a
MobileNetV3-Small has 146 nodes instead of 190 (one pooling node where the other builds it from several), takes 0.4 s
instead of 8, and holds no stack traces with this machine's paths.

Opset 17 is the newest that TensorRT 8.6 and ONNX Runtime 1.13 read; nothing in these networks needs a later one.

Optimised at the `basic` level: constants folded, batch norms merged into convolutions, all in standard operators. The
levels above it choose what fits the CPU at hand, so they belong to the worker, which applies them when it loads.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from errors import BuildError
from serialize.source import Source

OPSET = 17
# ONNX Runtime's errors share no base class but Exception.
REFUSED = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf,
           failures.NotImplemented, failures.RuntimeException)  # fmt: skip


@dataclass(frozen=True)
class Onnx:
    """torch.onnx.export, then ONNX Runtime's offline optimisation."""

    name: str = "onnx"
    file: str = "model.onnx"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the optimised graph."""
        traced = target.with_suffix(".traced")
        try:
            _trace(source, traced)
            _optimise(traced, target)
        except (torch.onnx.errors.OnnxExporterError, *REFUSED) as error:
            raise BuildError(f"the ONNX export failed: {str(error).splitlines()[0]}") from None
        finally:
            traced.unlink(missing_ok=True)
        return {"opset": OPSET}


def _trace(source: Source, target: Path) -> None:
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
            opset_version=OPSET,
            dynamo=False,
        )


def _optimise(traced: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors: below it stands advice on saving optimised graphs
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])
