"""The page's files: plain HTML, CSS and JavaScript, read once, and sent again only where a browser has others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# Scripts and styles come from files alone, a picture that is dropped is a blob; the last two keep text from ever being
# read as HTML, whatever a model is called.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent; `etag` changes with its content."""

    body: bytes
    media_type: str
    etag: str

    def response(self, known: str | None, headers: Mapping[str, str]) -> Response:
        """The file, or 304 for a browser whose `If-None-Match` (`known`) says that it has it.

        Browsers ask each time, so that an upgrade never mixes old files with new ones.
        """
        headers = {"etag": self.etag, "cache-control": "no-cache", **headers}
        if known is not None and self.etag in {each.strip().removeprefix("W/") for each in known.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


@lru_cache(maxsize=1)
def files() -> Mapping[str, File]:
    """All files by their names."""
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


def _read(path: Path) -> File:
    body = path.read_bytes()
    return File(body, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
