"""What the engine's refusals mean to a client. None of them is ever passed on as a success.

A handler answers for one bad item with its own status and {"error", "detail"}: that is passed on as it is. Everything
else is TorchServe's own {"code", "type", "message"}, whose words name classes and worker states; clients get ours.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from errors import DeadlinePassed, Internal, RequestError, TooLarge, UnknownModel, WorkerLost


def key_refused(status: int, body: bytes) -> bool:
    """Whether the engine did not accept the token: it expired, or the engine was started anew."""
    return status in (400, 401, 403) and names_a_refused_key(status, _parsed(body))


def names_a_refused_key(status: int, content: Any) -> bool:
    """The same for an answer that has been parsed."""
    return status in (400, 401, 403) and isinstance(content, dict) and content.get("type") == "InvalidKeyException"


def refusal(status: int, body: bytes, model: str) -> RequestError:
    """The error that a client is told for an answer of the engine that is not 200."""
    content = _parsed(body)
    from_handler = isinstance(content.get("error"), str) and isinstance(content.get("detail"), str)
    if from_handler and 400 <= status < 500:
        return _passed_on(status, content["error"], content["detail"])
    if from_handler and content["error"] == DeadlinePassed.code:
        return DeadlinePassed(content["detail"])
    if from_handler or (status == 503 and content.get("type") == "InternalServerException"):
        # The latter is TorchServe's word for a handler that raised: the model is there, this request broke it.
        return Internal(f"model {model} failed on this request")
    return _TORCHSERVE.get(status, _unexpected)(model)


def _passed_on(status: int, code: str, detail: str) -> RequestError:
    error = RequestError(detail)
    error.status, error.code = status, code
    return error


def _unexpected(model: str) -> RequestError:
    return Internal(f"the engine gave an unexpected answer for model {model}")


_TORCHSERVE: Mapping[int, Callable[[str], RequestError]] = {
    404: lambda model: UnknownModel(f"model {model} is not registered, or not in this version"),
    408: lambda model: DeadlinePassed(f"model {model} did not answer in time"),
    413: lambda _: TooLarge("the body is larger than the engine accepts"),
    500: lambda model: WorkerLost(f"the worker of model {model} was lost before it answered"),
    503: lambda model: WorkerLost(f"model {model} has no free worker"),
    # TorchServe's word for a worker that was killed, by whomever: the system's memory guard is but one of them.
    507: lambda model: WorkerLost(f"the worker of model {model} was killed before it answered"),
}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
