"""What the console's page is made of, and what it asks for."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.files import PAGE, files
from gateway.console.state import Console
from gateway.documented import answers
from gateway.http.responses import JSON
from handlers.outputs import classify

router = APIRouter()

_EXAMPLE: dict[str, Any] = {
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


def _console(request: Request) -> Console:
    console: Console = request.scope["state"]["console"]
    return console


@router.get("/console/state", responses=answers(_EXAMPLE), tags=["operation"])
async def state(console: Annotated[Console, Depends(_console)]) -> Response:
    """The console's figures: what is served, and counts of all gateway processes since the start; at most a second old.

    `latency` counts the answers with status 200 up to each of `bounds_s`, and at last all of them.
    """
    return Response(console.state(), headers={"cache-control": "no-store"}, media_type=JSON)


@router.get("/console/{name}", include_in_schema=False)
async def file(name: str, request: Request) -> Response:
    """One of the page's files."""
    found = files().get(name)
    if found is None or name == PAGE:
        raise HTTPException(404)
    return found.response(request.headers.get("if-none-match"), {})
