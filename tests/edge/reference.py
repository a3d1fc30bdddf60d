"""The responses of the gateway: its own forms and errors around the handler of an archive."""

import gc
import tempfile
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves closing a file to the collector
    import handlers.policy_handler  # noqa: F401
    from edge import reference_handler

    gc.collect()
from archive import TrustPolicy, open_trusted
from edge.verify import ANY, HarnessReply
from engines.torchserve.error_responses import error_from_response
from errors import RequestError
from gateway.dialects.short_routes import action, single
from gateway.hooks import EngineResponse
from gateway.http.body import Body
from gateway.http.payload import any_form, state
from gateway.http.responses import error_response, json_response

REQUEST_ID = "id"  # the one that native/harness.c gives


def answers(archive: Path, model: str, bodies: list[tuple[int, bytes]]) -> list[HarnessReply]:
    """Return the gateway's responses to (form, body) pairs."""
    refused = [_refused(form, body) for form, body in bodies]
    passed = [body for body, error in zip(bodies, refused, strict=True) if error is None]
    handled = iter(handler(archive, passed))
    return [
        _error(error) if error is not None else _answered(form, next(handled), model)
        for (form, _), error in zip(bodies, refused, strict=True)
    ]


def handler(archive: Path, bodies: list[tuple[int, bytes]]) -> list[HarnessReply]:
    """Return the responses of the project's handler, which runs in this process to save a start."""
    with tempfile.TemporaryDirectory() as folder:
        open_trusted(archive, TrustPolicy(100_000_000)).unpack(Path(folder))
        loaded = reference_handler.load(Path(folder))
    return [HarnessReply(*reference_handler.answer(loaded, body)) for _, body in bodies]


def _refused(form: int, body: bytes) -> RequestError | None:
    try:
        (any_form if form == ANY else state)(Body("application/json", {}, body), "policy")
    except RequestError as error:
        return error
    return None


def _answered(form: int, answer: HarnessReply, model: str) -> HarnessReply:
    if answer.status != 200:
        return _error(error_from_response(answer.status, answer.body, model))
    if form == ANY:
        return answer
    short = single(EngineResponse(answer.body, "application/json", None).content(), action)
    return HarnessReply(200, bytes(json_response(short).body))


def _error(error: RequestError) -> HarnessReply:
    return HarnessReply(error.status, bytes(error_response(error, REQUEST_ID).body))
