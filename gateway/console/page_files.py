"""The console's page: its files and their routes. None of them is secret, so they need no API key."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.http.context import header
from gateway.http.responses import json_response
from gateway.openapi import responses

router = APIRouter()

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"
PREFIX = "/console/"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEALTHY = {"status": "healthy", "message": "Marina is running; see /docs"}

# Scripts and styles come from files only; an image that the user drops is a blob. The last two directives keep text,
# such as a model's name, from being parsed as HTML.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page; `etag` changes with its content."""

    body: bytes
    media_type: str
    etag: str

    def response(self, if_none_match: str | None, headers: Mapping[str, str]) -> Response:
        """Return the file, or 304 for a browser that has it.

        Browsers revalidate each time, so that an upgrade never mixes old files with new ones.
        """
        headers = {"etag": self.etag, "cache-control": "no-cache", **headers}
        if if_none_match is not None:
            known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
            if self.etag in known:
                return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


@lru_cache(maxsize=1)
def page_files() -> Mapping[str, PageFile]:
    """Read all files of the page, by name."""
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    return PageFile(body, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def is_page_request(scope: Scope) -> bool:
    """Return whether a request is for the page or one of its files."""
    path: str = scope["path"]
    if path == "/":
        return _accepts_html(header(scope["headers"], b"accept"))
    return path.startswith(PREFIX) and path.removeprefix(PREFIX) in page_files()


def _accepts_html(accept: str | None) -> bool:
    return "text/html" in (accept or "")


@router.get("/", responses=responses(_HEALTHY), tags=["operation"])
async def home(request: Request) -> Response:
    """Answer that the gateway is healthy; a browser gets the console with models, live figures and inputs to try."""
    headers = {"vary": "accept"}
    if not _accepts_html(request.headers.get("accept")):
        return json_response(_HEALTHY, headers=headers)
    headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    return page_files()[PAGE].response(request.headers.get("if-none-match"), headers)


@router.get("/console/{name}", include_in_schema=False)
async def page_file(name: str, request: Request) -> Response:
    """Return one of the page's files."""
    found = page_files().get(name)
    if found is None or name == PAGE:
        raise HTTPException(404)
    return found.response(request.headers.get("if-none-match"), {})
