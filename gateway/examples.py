"""Example requests and responses of the OpenAPI document; the requests work as they are."""

import base64
import struct
import zlib
from typing import Any

from commands import VERSION
from gateway.answer_schema import Keyed
from handlers.outputs import classify


def png(rows: tuple[str, ...]) -> bytes:
    """Return an 8-bit greyscale PNG; each row is a string of digits, 0 black to 9 white."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(int(digit) * 255 // 9 for digit in row) for row in rows)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PICTURE = png(("00007000", "00079000", "00799000", "07099000", "00099000", "00099000", "00099000", "00799700"))
"""A handwritten 1, small enough to print."""

PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
OBSERVATION_PARTS = {"observation": [0.1, 0.2], "achieved_goal": [0.0], "desired_goal": [1.0]}
TENSORS = {"inputs": {"INPUT0": [[*range(16)]], "INPUT1": [[1] * 16]}}
ROWS = {"instances": [{"age": 41, "job": "nurse"}, {"age": 30, "job": "pilot"}]}
REQUEST_ID = "3f0c6a1e9b0d4f6e8a7c5b4d3e2f1a0b"

_PROBABILITIES = Keyed({"1": 0.98, "7": 0.02})

SHORT_RESPONSES: dict[str, Any] = {
    "probabilities": _PROBABILITIES,
    "action": {"action": 1},
    "label": {"prediction": "1"},
    "label_confidence": {
        "status": "success",
        "message": "Class found for image was 1 with confidence 0.980.",
        "prediction": {"label": "1", "confidence": 0.98},
    },
}
"""The response of a short route, by response form."""

_EXPLANATION = {"label": "1", "attributions": [[0.0, 0.12], [-0.01, 0.3]]}
HANDLER_ANSWERS: dict[str, dict[str, Any]] = {
    "predictions": {"model": "digits", "version": "1.0", "predictions": [classify.KIND.example]},
    "explanations": {"model": "digits", "version": "1.0", "explanations": [_EXPLANATION]},
}
"""Responses of a handler of the project to requests for predictions and for explanations."""

MODEL: dict[str, Any] = {
    "name": "digits",
    "default_version": "1.0",
    "breaker": "closed",
    "versions": [
        {
            "version": "1.0",
            "default": True,
            "workers": {"ready": 1, "total": 1, "min": 1, "max": 1},
            "queue": {"pending": 0, "free": 1000},
            "batch": {"batch_size": 4, "max_batch_delay": 5},
            "kind": "vision",
            "description": "Handwritten digits, ten classes.",
            "weights": "trained",
            "labels": [str(digit) for digit in range(10)],
        }
    ],
}

CONSOLE_STATE: dict[str, Any] = {
    "at": 81234.5,
    "whole": True,
    "engine_answers": True,
    "bounds_s": [0.001, 0.01, 0.1],
    "links": {"files": "http://127.0.0.1:5002", "grafana": "http://127.0.0.1:3000"},
    "lost": [],
    "models": [
        {
            "name": "digits",
            "description": "Handwritten digits, ten classes.",
            "default_version": "1.0",
            "statuses": {"200": 120, "400": 1},
            "latency": [0, 60, 119, 120],
            "in_flight": 2,
            "breaker": "closed",
            "split": {
                "stable": "1.0",
                "trial": "1.1",
                "weight": 0.1,
                "copies": 0,
                "sticky_header": "X-User",
                "answered": {"1.0": 18, "1.1": 2},
                "copied": 0,
            },
            "versions": [
                {
                    "version": "1.0",
                    "default": True,
                    "kind": "vision",
                    "view": classify.KIND.view,
                    "weights": "trained",
                    "golden": "answers",
                    "workers": {"ready": 1, "total": 1},
                    "pending": 0,
                    "batch_size": 4,
                    "max_batch_delay": 5,
                }
            ],
        }
    ],
}

_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

OIP: dict[str, Any] = {
    "server": {"name": "marina", "version": VERSION, "extensions": ["binary_tensor_data", "statistics"]},
    "ready": {"name": "cartpole", "ready": True},
    "model": {
        "name": "cartpole",
        "versions": ["1.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "observation", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "action", "datatype": "INT64", "shape": [-1]}],
    },
    "config": {
        "name": "cartpole",
        "platform": "onnxruntime_onnx",
        "backend": "torchserve",
        "max_batch_size": 0,
        "input": [{"name": "observation", "data_type": "TYPE_FP32", "dims": [-1, 4]}],
        "output": [{"name": "action", "data_type": "TYPE_INT64", "dims": [-1]}],
        "parameters": Keyed({"actions": {"string_value": '["left", "right"]'}}),
    },
    "stats": {
        "model_stats": [
            {
                "name": "cartpole",
                "version": "1.0",
                "last_inference": 1795247992067,
                "inference_count": 1,
                "execution_count": 1,
                "inference_stats": {stage: {"count": 1, "ns": 2000000} for stage in _STAGES},
            }
        ]
    },
    "regions": [{"name": "input_data", "key": "/my_region", "offset": 0, "byte_size": 64}],
    "trace": {
        "trace_level": ["OFF"],
        "trace_rate": "0",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "opentelemetry",
    },
    "logging": {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    },
    "loaded": {"name": "cartpole", "state": "READY"},
    "unloaded": {"name": "cartpole", "state": "UNAVAILABLE"},
    "index": [{"name": "cartpole", "version": "1.0", "state": "READY", "reason": ""}],
}
"""Responses of the Open Inference Protocol."""

OIP_STATE = {
    "inputs": [
        {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": [-0.0446, 0.0465, 0.0133, -0.021]},
    ]
}
OIP_PICTURE = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [PICTURE_BASE64]}]}
OIP_TENSORS = {
    "inputs": [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": values}
        for name, [values] in TENSORS["inputs"].items()
    ]
}
OIP_INFERRED = {
    "model_name": "cartpole",
    "model_version": "1.0",
    "outputs": [{"name": "action", "datatype": "INT64", "shape": [1], "data": [1]}],
}
