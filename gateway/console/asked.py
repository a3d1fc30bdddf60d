"""What a browser needs before anybody has typed a key: the page, which holds no secret, and its files."""

from starlette.types import Scope

from gateway.console.files import files
from gateway.http.context import header

PREFIX = "/console/"


def wants_page(accept: str | None) -> bool:
    """Whether whoever asks for `/` is a browser; programs get JSON there."""
    return "text/html" in (accept or "")


def is_page(scope: Scope) -> bool:
    """Whether a request is for the page itself or for one of its files."""
    path: str = scope["path"]
    if path == "/":
        return wants_page(header(scope["headers"], b"accept"))
    return path.startswith(PREFIX) and path.removeprefix(PREFIX) in files()
