"""The front door: JSON for programs, the console for people."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.asked import wants_page
from gateway.console.files import CONTENT_SECURITY_POLICY, PAGE, files
from gateway.documented import answers
from gateway.http.responses import json_response

router = APIRouter(tags=["operation"])

_HEALTHY = {"status": "healthy", "message": "Marina is running; see /docs"}


@router.get("/", responses=answers(_HEALTHY))
async def home(request: Request) -> Response:
    """Healthy; a browser gets the console: models, live figures, and inputs to try."""
    headers = {"vary": "accept"}
    if not wants_page(request.headers.get("accept")):
        return json_response(_HEALTHY, headers=headers)
    headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    return files()[PAGE].response(request.headers.get("if-none-match"), headers)
