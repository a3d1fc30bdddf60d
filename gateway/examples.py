"""Example requests and responses of the OpenAPI document; the requests work as they are."""

import base64
import struct
import zlib
from typing import Any

from commands import VERSION
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
REQUEST_ID = "3f0c6a1e9b0d4f6e8a7c5b4d3e2f1a0b"

_PROBABILITIES = {"1": 0.98, "7": 0.02}

SHORT_RESPONSES: dict[str, Any] = {
    "probabilities": _PROBABILITIES,
    "action": {"action": 1},
    "label": {"prediction": "1"},
    "label_confidence": {"status": "success", "prediction": {"label": "1", "confidence": 0.98}},
}
"""The response of a short route, by response form."""

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
        "parameters": {"actions": {"string_value": '["left", "right"]'}},
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
OIP_INFERRED = {
    "model_name": "cartpole",
    "model_version": "1.0",
    "outputs": [{"name": "action", "datatype": "INT64", "shape": [1], "data": [1]}],
}
