"""What the gateway has counted of two versions since a trial began."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus import GatewayFigures, samples

SECONDS = "marina_gateway_version_seconds"
COPIES = "marina_gateway_shadow_total"
FALLBACKS = "marina_gateway_fallbacks_total"
LARGEST = "marina_gateway_shadow_largest_change"


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
    """Both versions in the gateway's figures, from the first look on."""

    def __init__(self, figures: GatewayFigures, model: str) -> None:
        self._figures = figures
        self._model = model

    def look(self) -> bool:
        """Read once more; False when the figures cannot be read now, which may pass. Raises FiguresError."""
        return self._figures.look()

    def side(self, version: str, way: str) -> Side:
        """The answers of one version."""
        answers: Counter[int] = Counter()
        seconds: Counter[float] = Counter()
        for labels, number in self._grown(f"{SECONDS}_count", version, way=way):
            answers[int(labels["status"])] += int(number)
        # How fast a version fails says nothing about how fast it answers.
        for labels, number in self._grown(f"{SECONDS}_bucket", version, way=way, status="200"):
            seconds[float(labels["le"])] += int(number)
        return Side(dict(answers), dict(seconds))

    def copies(self, version: str) -> Compared:
        """The copies that went to one version."""
        found = {labels["result"]: int(number) for labels, number in self._grown(COPIES, version)}
        readings = self._figures.latest.values()
        changes = (samples(reading.gauges, LARGEST, model=self._model, version=version) for reading in readings)
        return Compared(**found, largest=max((value for each in changes for _, value in each), default=0.0))

    def fallbacks(self, version: str) -> int:
        """Requests that it did not answer and the default version did."""
        return int(sum(number for _, number in self._grown(FALLBACKS, version)))

    def _grown(self, name: str, version: str, **labels: str) -> Iterator[tuple[Mapping[str, str], float]]:
        return samples(self._figures.growth, name, model=self._model, version=version, **labels)
