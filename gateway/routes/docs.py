"""The documentation to try things in: Swagger UI over the OpenAPI document."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from gateway.swagger import CONTENT_SECURITY_POLICY, PAGE, START, file_of

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> Response:
    """The page."""
    return HTMLResponse(PAGE, headers={"content-security-policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """What starts Swagger UI; a file of its own, because the page allows no script inside it."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """One of Swagger UI's own files."""
    found = file_of(name)
    if found is None:
        raise HTTPException(404)
    return Response(found[0].read_bytes(), media_type=found[1], headers={"cache-control": "max-age=3600"})
