"""Swagger UI: its page, and where its files are on this machine, so that /docs works without internet."""

import importlib.util
from pathlib import Path

# Swagger UI writes style attributes and shows its icons as data URLs; scripts come from the files alone.
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

# No validator: it is a service on the internet that would be sent the address of this gateway.
START = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, '
    "displayRequestDuration: true})"
)

_MEDIA_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def file_of(name: str) -> tuple[Path, str] | None:
    """Path and media type of one of Swagger UI's files; None for any other name.

    The package `fastapi-offline` brings them; none of its code is run.
    """
    if name not in _MEDIA_TYPES:
        return None
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "static" / name, _MEDIA_TYPES[name]
