"""Swagger UI over the OpenAPI document; all its files are served from here, so that it works without internet."""

import importlib.util
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

# Swagger UI writes style attributes and shows its icons as data URLs; scripts come from files alone.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<title>Marina: try it</title><link rel="icon" href="data:,">'
    '<link rel="stylesheet" href="docs/swagger-ui.css"></head><body><div id="swagger-ui"></div>'
    '<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>'
)

# No validator: that internet service would receive the address of this gateway.
START = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, '
    "displayRequestDuration: true})"
)

_MEDIA_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


@router.get("/docs")
async def docs() -> Response:
    """Return the page of Swagger UI."""
    return HTMLResponse(PAGE, headers={"content-security-policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js")
async def start_script() -> Response:
    """Return the script that starts Swagger UI; the page allows none inside itself."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def swagger_file(name: str) -> Response:
    """Return one of Swagger UI's own files."""
    if name not in _MEDIA_TYPES:
        raise HTTPException(404)
    content = (_swagger_folder() / name).read_bytes()
    return Response(content, media_type=_MEDIA_TYPES[name], headers={"cache-control": "max-age=3600"})


def _swagger_folder() -> Path:
    """Return the folder of the package `fastapi-offline`, whose code is not run."""
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "static"
