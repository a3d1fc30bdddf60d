"""A session of ONNX Runtime on the machine that builds: one thread, errors only."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

REFUSED = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf,
           failures.NotImplemented, failures.RuntimeException)  # fmt: skip
"""ONNX Runtime's errors, which share no base class but Exception."""


def session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session for the graph at `path`, with one thread."""
    return onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])


def session_options() -> onnxruntime.SessionOptions:
    """Return options for one thread, without ONNX Runtime's advice against saving optimised graphs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options
