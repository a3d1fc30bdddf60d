"""What the gateway has counted of two versions since a trial began, read from its `/metrics` again and again."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import requests
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from errors import RolloutError

SECONDS = "marina_gateway_version_seconds"
COPIES = "marina_gateway_shadow_total"
FALLBACKS = "marina_gateway_fallbacks_total"
LARGEST = "marina_gateway_shadow_largest_change"
TIMEOUT_S = 5

Key = tuple[str, str, str, str]
"""Version, way or result, status, upper bound; empty where there is none."""


@dataclass(frozen=True)
class Side:
    """The answers of one version, `answers` by status; `seconds` counts the good ones up to each bound."""

    answers: Mapping[int, int]
    seconds: Mapping[float, int]

    @property
    def requests(self) -> int:
        """All answers."""
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        """Those that are the version's own fault: 5xx, a deadline that passed included."""
        return sum(number for status, number in self.answers.items() if status >= 500)

    @property
    def refused(self) -> int:
        """Those that blame the request: 4xx. Both versions get the same kind of requests."""
        return sum(number for status, number in self.answers.items() if 400 <= status < 500)


@dataclass(frozen=True)
class Compared:
    """Copies of requests, by what came of them, and the largest move between two answers."""

    same: int = 0
    differs: int = 0
    failed: int = 0
    dropped: int = 0
    largest: float = 0.0

    @property
    def compared(self) -> int:
        """Pairs of answers."""
        return self.same + self.differs


class Counted:
    """Adds up what each reading has more than the one before; a gateway that was restarted begins at nothing."""

    def __init__(self, url: str, model: str, api_key: SecretStr | None = None) -> None:
        self._url = f"{url}/metrics"
        self._headers = {} if api_key is None else {"X-Api-Key": api_key.get_secret_value()}
        self._model = model
        self._last: dict[tuple[str, Key], float] | None = None
        self._sum: Counter[tuple[str, Key]] = Counter()
        self._largest: dict[str, float] = {}

    def look(self) -> bool:
        """Reads once; False when there is no gateway to ask, and nothing is lost by that.

        Raises RolloutError when the gateway wants a key, or another one.
        """
        try:
            answer = requests.get(self._url, headers=self._headers, timeout=TIMEOUT_S)
            if answer.status_code == HTTPStatus.UNAUTHORIZED:
                raise RolloutError(f"{self._url} asks for a key; set canary.api_key or MARINA_API_KEY to one it knows")
            answer.raise_for_status()
        except requests.RequestException:
            return False
        self.take(answer.text)
        return True

    def take(self, text: str) -> None:
        """The same for a text that was read."""
        found = dict(self._counters(text))
        if self._last is not None:
            restarted = any(found.get(key, 0.0) < before for key, before in self._last.items())
            before = {} if restarted else self._last
            for key, number in found.items():
                self._sum[key] += int(number - before.get(key, 0.0))
        self._last = found

    def side(self, version: str, way: str) -> Side:
        """The answers of one version."""
        answers: Counter[int] = Counter()
        seconds: Counter[float] = Counter()
        for (name, key), number in self._sum.items():
            if key[:2] != (version, way):
                continue
            if name == f"{SECONDS}_count":
                answers[int(key[2])] += number
            # How fast a version fails says nothing about how fast it answers.
            elif name == f"{SECONDS}_bucket" and key[2] == "200":
                seconds[float(key[3])] += number
        return Side(dict(answers), dict(seconds))

    def copies(self, version: str) -> Compared:
        """The copies that went to one version."""
        found = {key[1]: number for (name, key), number in self._sum.items() if name == COPIES and key[0] == version}
        return Compared(**found, largest=self._largest.get(version, 0.0))

    def fallbacks(self, version: str) -> int:
        """Requests that it did not answer and the default version did."""
        return self._sum[FALLBACKS, (version, "", "", "")]

    def _counters(self, text: str) -> Iterator[tuple[tuple[str, Key], float]]:
        lines = (line for line in text.splitlines() if f'model="{self._model}"' in line and "version=" in line)
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for name, labels, value, *_ in family.samples:
                version = labels["version"]
                if name == LARGEST:
                    self._largest[version] = value
                elif name.startswith(SECONDS) or name in (COPIES, FALLBACKS):
                    way = labels.get("way") or labels.get("result", "")
                    yield (name, (version, way, labels.get("status", ""), labels.get("le", ""))), value
