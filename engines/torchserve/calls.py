"""Blocking calls to one TorchServe host, with its keys. Every error is an EngineError of one line."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from engines.interface import Facts, Interface
from engines.torchserve import keys
from engines.torchserve.verdicts import key_refused
from errors import EngineError
from settings.schema import Node

NOT_FOUND = frozenset({404})
PATIENCE_S = 30.0
NO_HEADERS: Mapping[str, str] = {}


class Calls:
    """The connections to one host."""

    def __init__(self, node: Node, facts: Facts) -> None:
        self._node = node
        self._facts = facts
        self._session = requests.Session()

    def close(self) -> None:
        """Close them."""
        self._session.close()

    def manage(
        self,
        method: str,
        path: str,
        *,
        accept: frozenset[int] = frozenset(),
        params: Mapping[str, Any] | None = None,
        timeout: float = PATIENCE_S,
    ) -> requests.Response:
        """One call of the Management API; any status that is neither good nor in `accept` is an EngineError."""
        url = f"{self._node.management_url}{path}"
        answer = self._send("management", method, url, params=params, timeout=timeout)
        if not answer.ok and answer.status_code not in accept:
            told = f"{self._facts.title} answered {method} {path} with {answer.status_code}"
            raise EngineError(f"{told}: {_message(answer)}")
        return answer

    def predict(self, path: str, body: bytes, content_type: str, timeout: float) -> requests.Response:
        """One prediction, whatever its status."""
        url = f"{self._node.inference_url}{path}"
        headers = {"Content-Type": content_type}
        return self._send("inference", "POST", url, data=body, headers=headers, timeout=timeout)

    def _send(
        self, interface: Interface, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS, **options: Any
    ) -> requests.Response:
        """Send with the key; a refused one has expired or was replaced by a restart, so renew it once."""
        token = keys.token(self._node, interface, self._facts.title)
        answer = self._attempt(method, url, headers, token, options)
        if _refused(answer):
            token = keys.renewed(self._node, interface, self._facts)
            answer = self._attempt(method, url, headers, token, options)
        if _refused(answer):
            place = self._node.key_file or "its settings"
            raise EngineError(f"{self._facts.title} does not accept the keys in {place}")
        return answer

    def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], token: str, options: dict[str, Any]
    ) -> requests.Response:
        title, place = self._facts.title, urlsplit(url)
        try:
            return self._session.request(
                method, url, headers={**headers, "Authorization": f"Bearer {token}"}, **options
            )
        except requests.ReadTimeout:
            raise EngineError(f"{title} did not answer {method} {place.path} in {options['timeout']:g} s") from None
        except (requests.ConnectionError, requests.ConnectTimeout):
            raise EngineError(f"no {title} at {place.scheme}://{place.netloc}; `make up` starts it") from None
        except requests.RequestException as error:
            raise EngineError(f"{title} did not answer {method} {place.path}: {type(error).__name__}") from None


def _refused(answer: requests.Response) -> bool:
    return answer.status_code >= 400 and key_refused(answer.status_code, answer.content)


def _message(answer: requests.Response) -> str:
    try:
        return " ".join(str(answer.json()["message"]).split())
    except (ValueError, KeyError, TypeError):
        return answer.reason
