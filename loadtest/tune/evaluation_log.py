"""The evaluations of a search, durable on the disk before the next one begins, so that a killed search resumes.

`tune/MODEL.jsonl` in the stack's state folder has a line that describes the search, a line for each evaluation, and a
last line when the search has ended.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import LoadError
from files import file_lock, read_text, write_atomic
from loadtest.tune.goal import EvaluationResult, pooled
from loadtest.tune.space import Candidate


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a candidate, and its seconds with the rollout."""

    candidate: Candidate
    result: EvaluationResult
    seconds: float


class EvaluationLog:
    """The evaluations of one search; `resumed` is True when an earlier process made some of them."""

    def __init__(self, path: Path, searched: Mapping[str, Any], before: Candidate) -> None:
        self._path = path
        self._lines: list[Mapping[str, Any]] = [{"searched": searched, "before": asdict(before)}]
        self.before = before
        self.evaluations: list[Evaluation] = []
        self.resumed = False

    @property
    def spent_s(self) -> float:
        """The seconds of all evaluations."""
        return sum(evaluation.seconds for evaluation in self.evaluations)

    def results(self) -> dict[Candidate, EvaluationResult]:
        """Return the merged result of each candidate, in the order of their first evaluations."""
        grouped: dict[Candidate, list[EvaluationResult]] = {}
        for evaluation in self.evaluations:
            grouped.setdefault(evaluation.candidate, []).append(evaluation.result)
        return {candidate: pooled(each) for candidate, each in grouped.items()}

    def add(self, evaluation: Evaluation) -> None:
        """Save an evaluation."""
        self._keep(evaluation)
        self._write()

    def resume(self, evaluations: list[Evaluation]) -> None:
        """Continue after these evaluations of an earlier process."""
        for evaluation in evaluations:
            self._keep(evaluation)
        self.resumed = bool(evaluations)
        self._write()

    def end(self) -> None:
        """Mark the search as ended, so that no other run resumes it."""
        self._lines.append({"end": True})
        self._write()

    def _keep(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)
        line = {"setting": asdict(evaluation.candidate), "measured": asdict(evaluation.result)}
        self._lines.append({"look": {**line, "seconds": evaluation.seconds}})

    def _write(self) -> None:
        write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in self._lines))


@contextlib.contextmanager
def open_log(state: Path, model: str, searched: Mapping[str, Any], before: Candidate) -> Iterator[EvaluationLog]:
    """Open the unfinished log of the same search, or a new one that replaces any other.

    `searched` holds what must be the same for evaluations to be comparable; `before` is what served at the start.
    Raises LoadError while another search of the model runs on this stack.
    """
    path = state / "tune" / f"{model}.jsonl"

    def refuse() -> None:
        raise LoadError(f"another search tunes {model} on this stack")

    with file_lock(path.with_suffix(".lock"), on_wait=refuse):
        earlier = _parse(read_text(path) or "", searched)
        log = EvaluationLog(path, searched, earlier[0] if earlier else before)
        log.resume(earlier[1] if earlier else [])
        yield log


def _parse(text: str, searched: Mapping[str, Any]) -> tuple[Candidate, list[Evaluation]] | None:
    """Return what served before and the evaluations; None for another search or an ended one.

    An incomplete last line is left out.
    """
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines or lines[0]["searched"] != json.loads(json.dumps(searched)) or "end" in lines[-1]:
            return None
        return Candidate(**lines[0]["before"]), [_evaluation(line["look"]) for line in lines[1:]]
    except (ValueError, TypeError, KeyError):
        return None


def _evaluation(entry: Mapping[str, Any]) -> Evaluation:
    found = entry["measured"]
    lists = {key: tuple(found[key]) for key in ("rates", "latencies_ms")}
    return Evaluation(Candidate(**entry["setting"]), EvaluationResult(**{**found, **lists}), entry["seconds"])
