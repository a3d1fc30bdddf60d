"""The protocol's part of the OpenAPI document: samples, and the inference routes written out."""

from typing import Any

from commands import VERSION
from errors import NotAllowed
from gateway.documented import ERRORS, answers
from gateway.samples import PICTURE_BASE64

_ERROR = {
    "type": "object",
    "description": "An error as the Open Inference Protocol words it.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error"],
}
_STATE = [-0.0446, 0.0465, 0.0133, -0.021]
_DURATION = {"count": 1, "ns": 2000000}
_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_COUNTS = {"last_inference": 1795247992067, "inference_count": 1, "execution_count": 1}

SAMPLES: dict[str, Any] = {
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
                **_COUNTS,
                "inference_stats": dict.fromkeys(_STAGES, _DURATION),
            }
        ]
    },
    "loaded": {"name": "cartpole", "state": "READY"},
    "unloaded": {"name": "cartpole", "state": "UNAVAILABLE"},
    "index": [{"name": "cartpole", "version": "1.0", "state": "READY", "reason": ""}],
}

READY_ONLY: dict[str, Any] = {"ready": True}
PARAMETERS: dict[str, Any] = {"parameters": {}}


def oip_answers(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of the protocol: what a good answer looks like, and the errors it can give."""
    return {**answers(example), **{status: _error(status) for status in errors}}


def body_of(example: dict[str, Any]) -> dict[str, Any]:
    """A JSON body that may be left out."""
    content = {"schema": {"type": "object"}, "examples": {"body": {"value": example}}}
    return {"requestBody": {"required": False, "content": {"application/json": content}}}


def infer_paths() -> dict[str, Any]:
    """The inference routes, path → operations."""
    model, version = _in_path("model", "cartpole"), _in_path("version", "1.0")
    return {
        "/v2/models/{model}/infer": _infer("The default version answers.", [model]),
        "/v2/models/{model}/versions/{version}/infer": _infer("That version answers.", [model, version]),
    }


def _infer(words: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    state = {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": _STATE}
    picture = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [PICTURE_BASE64]}
    examples = {
        "state": {"summary": "a policy's observation", "value": {"inputs": [state]}},
        "picture": {"summary": "a picture, in base64", "value": {"inputs": [picture]}},
    }
    output = {"name": "action", "datatype": "INT64", "shape": [1], "data": [1]}
    good = oip_answers(
        {"model_name": "cartpole", "model_version": "1.0", "outputs": [output]}, 400, 404, 413, 422, 500, 503, 504
    )
    return {
        "post": {
            "tags": ["open inference protocol"],
            "summary": "Infer",
            "description": f"{words} Tensors as GET /v2/models/{{model}} lists them; raw ones may follow the JSON.",
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"type": "object"}, "examples": examples}},
            },
            "responses": {str(status): answer for status, answer in good.items()},
        }
    }


def _in_path(name: str, example: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string"}, "example": example}


def _error(status: int) -> dict[str, Any]:
    words = NotAllowed.summary if status == NotAllowed.status else ERRORS[status].summary
    example = {"error": words, "request_id": "3f0c6a1e9b0d4f6e8a7c5b4d3e2f1a0b"}
    return {"description": words, "content": {"application/json": {"schema": _ERROR, "example": example}}}
