"""The TorchServe of this machine: its keys, its models and its workers, read with the standard library."""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from engines.engine_profile import Interface, ModelVersion, PredictionResponse
from engines.torchserve import api
from errors import EngineError

KEY_FILE = "key_file.json"  # TorchServe writes it in the folder where it was started
ANSWER_S = 5.0
REFUSED = 400  # TorchServe's status for an invalid key


class EngineSilent(EngineError):
    """TorchServe does not answer at all: it has ended, or it hangs."""


class KeyRefused(EngineError):
    """The token has expired, or it was replaced."""


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """The keys in one key file."""

    inference: str = field(repr=False)
    management: str = field(repr=False)
    api: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key file. Raises EngineError when it is missing or incomplete."""
        try:
            found = json.loads(path.read_bytes())
            return cls(*(str(found[name]["key"]) for name in ("inference", "management", "API")))
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, LookupError, TypeError):
            raise EngineError(api.damaged_key_file(path, "TorchServe")) from None


class LocalApi:
    """TorchServe at the addresses that its environment names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Send no request yet."""
        self._inference = urlsplit(environment["TS_INFERENCE_ADDRESS"]).netloc
        self._management = urlsplit(environment["TS_MANAGEMENT_ADDRESS"]).netloc

    def ping(self, timeout_s: float) -> int:
        """Return the status of a ping, which needs no key: a healthy TorchServe refuses it with 400."""
        return self._send(self._inference, "GET", api.PING, None, timeout_s=timeout_s)[0]

    def renew(self, interface: Interface, keys: LocalKeys) -> bool:
        """Have TorchServe replace a token; return False when it could not write the new one to its key file."""
        return self._send(self._management, "GET", api.renewal_path(interface), keys.api)[0] == 200

    def versions(self, keys: LocalKeys) -> list[ModelVersion]:
        """Return every version of every model."""
        return [api.model_version(each) for each in self._described(keys)]

    def version(self, model: str, version: str, keys: LocalKeys) -> ModelVersion | None:
        """Return one version; None when it is not registered."""
        found = [api.model_version(each) for each in self._manage(api.versions_path(model), keys.management)]
        return next((each for each in found if each.version == version), None)

    def default(self, model: str, keys: LocalKeys) -> ModelVersion | None:
        """Return the version that answers requests without one; None for an unknown model."""
        status, _, body = self._send(self._management, "GET", api.model_path(model), keys.management)
        return None if status == 404 else api.model_version(_json(status, body)[0])

    def model_of(self, worker: str, keys: LocalKeys) -> str | None:
        """Return the model and version of a worker by its id; None when no version has it."""
        for each in self._described(keys):
            if worker in {str(known.get("id")) for known in each.get("workers") or ()}:
                return f"{each['modelName']} {each['modelVersion']}"
        return None

    def probe(self, version: ModelVersion, keys: LocalKeys, timeout_s: float) -> PredictionResponse:
        """Send an empty prediction request; a handler of the project refuses it and names its worker."""
        path = api.prediction_path(version.model, version.version)
        status, headers, body = self._send(self._inference, "POST", path, keys.inference, timeout_s=timeout_s)
        worker = headers.get("x-worker-pid")
        return PredictionResponse(status, body, None if worker is None else int(worker))

    def _described(self, keys: LocalKeys) -> Iterator[Mapping[str, Any]]:
        start: str | None = "0"
        while start:
            page = self._manage(api.page_path(start), keys.management)
            for entry in page["models"]:
                yield from self._manage(api.versions_path(str(entry["modelName"])), keys.management)
            start = page.get("nextPageToken")

    def _manage(self, path: str, key: str) -> Any:
        status, _, body = self._send(self._management, "GET", path, key)
        return _json(status, body)

    def _send(
        self, address: str, method: str, path: str, key: str | None, *, timeout_s: float = ANSWER_S
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(address, timeout=timeout_s)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            connection.request(method, path, body=b"" if method == "POST" else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineSilent(f"TorchServe did not answer {method} {path}: {type(error).__name__}") from None
        finally:
            connection.close()


def _json(status: int, body: bytes) -> Any:
    if status == REFUSED:
        raise KeyRefused("TorchServe does not accept the key in its key file")
    if status != 200:
        raise EngineError(f"TorchServe answered with {status}")
    try:
        return json.loads(body or b"null")
    except ValueError:
        raise EngineError("TorchServe did not answer in JSON") from None
