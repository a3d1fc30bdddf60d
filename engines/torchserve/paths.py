"""The paths and queries of TorchServe 0.12's Inference and Management API, each written once.

What its documentation does not say: all versions are listed by `/models/NAME/all`, and one is deleted by path; a query
is ignored there.
"""

from collections.abc import Mapping
from urllib.parse import quote

from engines.interface import Interface
from settings.schema import RequestParams

PING = "/ping"
MODELS = "/models"
PAGE = 100  # models a page, the most that TorchServe gives

Query = Mapping[str, str | int]


def page(start: str) -> str:
    """A part of the list of models; the first one begins at 0, each names where the next one does."""
    return f"{MODELS}?limit={PAGE}&next_page_token={start}"


def model(name: str, version: str | None = None) -> str:
    """One version of a model, the default one for None."""
    path = f"{MODELS}/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def versions(name: str) -> str:
    """All versions of a model."""
    return f"{model(name)}/all"


def described(name: str, version: str) -> str:
    """One version with what its handler says of itself, for which a worker is asked."""
    return f"{model(name, version)}?customized=true"


def default(name: str, version: str) -> str:
    """Where a version is made the default one."""
    return f"{model(name, version)}/set-default"


def prediction(name: str, version: str | None) -> str:
    """Where a version predicts, the default one for None."""
    path = f"/predictions/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def renewal(interface: Interface) -> str:
    """Where a new token is fetched with the API key; it is written into the key file."""
    return f"/token?type={interface}"


def registration(name: str, url: str, params: RequestParams, sha256: str | None = None) -> Query:
    """An archive that is fetched and gets no worker yet; `sha256` for an engine that compares what it has fetched."""
    batch = {"batch_size": params.batch_size, "max_batch_delay": params.max_batch_delay}
    expected = {} if sha256 is None else {"sha256": sha256}
    return {"url": url, "model_name": name, **batch, "initial_workers": 0, **expected}


def scaling(workers: int) -> Query:
    """So many workers; the answer comes when they have loaded the model, or do not."""
    return {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
