"""Translates an engine's error responses into the errors for the gateway's clients, and those into an engine's.

A handler answers for one bad item with its own status and {"error", "detail"}; clients get that response unchanged.
TorchServe's own errors, {"code", "type", "message"}, name Java classes and worker states; clients get a plain text
instead. No error response ever becomes a success.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from errors import DeadlinePassed, Internal, NotSupported, RequestError, TooLarge, UnknownModel, WorkerLost


def is_key_refused(status: int, body: bytes) -> bool:
    """Return whether the engine refused the token: it expired, or the engine has restarted."""
    return status in (400, 401, 403) and _parsed(body).get("type") == "InvalidKeyException"


def error_from_response(status: int, body: bytes, model: str) -> RequestError:
    """Return the error for a client, given an engine's response whose status is not 200."""
    content = _parsed(body)
    from_handler = isinstance(content.get("error"), str) and isinstance(content.get("detail"), str)
    if from_handler and (400 <= status < 500 or content["error"] == NotSupported.code):
        return _unchanged(status, content["error"], content["detail"])
    if from_handler and content["error"] == DeadlinePassed.code:
        return DeadlinePassed(content["detail"])
    if from_handler or (status == 503 and content.get("type") == "InternalServerException"):
        # TorchServe answers this way when a handler raised: the model works, but failed on this request.
        return Internal(f"model {model} failed on this request")
    return _BY_STATUS.get(status, _unexpected)(model)


def as_response(error: RequestError) -> dict[str, Any]:
    """Return the content of the response with which TorchServe reports such an error to its clients."""
    name = _EXCEPTIONS.get(error.status, "InternalServerException" if error.status >= 500 else "BadRequestException")
    if error.status == UnknownModel.status and error.code != UnknownModel.code:
        name = "ResourceNotFoundException"
    return {"code": error.status, "type": name, "message": error.detail}


_EXCEPTIONS: Mapping[int, str] = {
    401: "InvalidKeyException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    413: "RequestEntityTooLargeException",
    429: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}


def _unchanged(status: int, code: str, detail: str) -> RequestError:
    error = RequestError(detail)
    error.status, error.code = status, code
    return error


def _unexpected(model: str) -> RequestError:
    return Internal(f"the engine gave an unexpected answer for model {model}")


_BY_STATUS: Mapping[int, Callable[[str], RequestError]] = {
    404: lambda model: UnknownModel(f"model {model} is not registered, or not in this version"),
    408: lambda model: DeadlinePassed(f"model {model} did not answer in time"),
    413: lambda _: TooLarge("the body is larger than the engine accepts"),
    500: lambda model: WorkerLost(f"the worker of model {model} was lost before it answered"),
    503: lambda model: WorkerLost(f"model {model} has no free worker"),
    # TorchServe's status for a killed worker, whether the system's memory guard or anybody else killed it.
    507: lambda model: WorkerLost(f"the worker of model {model} was killed before it answered"),
}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
