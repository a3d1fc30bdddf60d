"""What becomes of an archive of another maker, by the commands of users: from its adoption to a kill of its engine."""

import itertools
import json
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from archive import open_archive
from bench import tables
from engines.profiles import profile_of
from errors import MarinaError
from handlers import golden
from handlers.outputs import HandlerResponse
from settings.load import ROOT
from stack import processes
from stack.folders import Folders
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.foreign_cases import ForeignCase
from tests.e2e.uploads import DELAY, QUICK
from tests.polling import wait_for

CLIENTS, PAUSE_S = 3, 0.1
# A busy machine answers little, and how fast two versions are is not the question here.
SCORED = ("canary.min_requests=3", "shadow.min_compared=2", "canary.max_latency_ratio=1000")
TRIAL = (*QUICK, *SCORED, "shadow.timeout_s=120", "canary.weight=0.5", "shadow.share=1")
RESTORE_S = 900.0
STEPS = ("adopted", "rolled out", "canary and shadow", "rolled back", "loaded", "restored")


@dataclass
class ArchiveRow:
    """What became of one archive on one engine: a text for each step, and whether a step failed."""

    name: str
    described: str
    engine: str
    steps: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    def cells(self) -> tuple[str, ...]:
        return (self.described, *(tables.cell(self.steps.get(step, "-")) for step in STEPS))


class StepError(Exception):
    """A step went otherwise than it should."""


@contextmanager
def foreign_stack(engine: str, folder: Path) -> Iterator[Stack]:
    """A running stack without models, with a configuration of its own, into which adoptions write."""
    shutil.copytree(ROOT / "config", folder / "config", ignore=shutil.ignore_patterns("local"))
    (folder / "archives").mkdir()
    made = new_stack(folder / "state", folder / "archives")
    # A slow machine is no failure: who waits gets an answer.
    patient = ("gateway.deadline_ms=120000", "gateway.admission.max_wait_ms=120000")
    made.env.update(MARINA_ENGINE=engine, MARINA_CONFIG=str(folder / "config"))
    try:
        _run(made, "-m", "stack", "up", *patient)
        yield made
    finally:
        made.run("-m", "stack", "down")
    assert left_running(made) == []


class Journeys:
    """The archives on one running stack."""

    def __init__(self, stack: Stack, engine: str, folder: Path) -> None:
        self._stack = stack
        self._engine = engine
        self._folder = folder
        self.rows: list[ArchiveRow] = []

    def run(self, cases: Sequence[ForeignCase], seen: Callable[[ArchiveRow], None]) -> None:
        """Take each archive from its adoption to a kill of its engine, and remove it again."""
        for case in cases:
            row = ArchiveRow(case.name, case.described, self._engine)
            self.rows.append(row)
            self._journey(case, row)
            seen(row)

    def _journey(self, case: ForeignCase, row: ArchiveRow) -> None:
        if case.refused is not None:
            self._step(row, "adopted", case, self._refused)
            return
        acts = (self._adopted, self._rolled_out, self._tried_out, self._rolled_back, self._loaded, self._restored)
        for step, act in zip(STEPS, acts, strict=True):
            if not self._step(row, step, case, act):
                break
        if "rolled out" in row.steps:
            with suppress(StepError):  # one that failed may be half there
                _run(self._stack, "-m", "delivery", "remove", f"served_model={case.name}")

    def _step(self, row: ArchiveRow, step: str, case: ForeignCase, act: Callable[[ForeignCase], str]) -> bool:
        try:
            row.steps[step] = act(case)
        except (StepError, MarinaError, requests.RequestException) as error:
            row.steps[step] = f"failed: {str(error)[:300]}"
            row.failed = True
        return not row.failed

    def _adopt(self, case: ForeignCase) -> tuple[int, str]:
        made, samples = self._folder / "made" / case.name, self._folder / "samples" / case.name
        for folder in (made, samples):
            folder.mkdir(parents=True)
        for name, content in case.samples.items():
            (samples / name).write_bytes(content)
        archive = case.make(made)
        with self._stack.start(
            "-m", "delivery", "adopt", str(archive), str(samples), "trust=yes", *case.words
        ) as started:
            printed = started.communicate()[0]
        return started.returncode, printed

    def _refused(self, case: ForeignCase) -> str:
        status, printed = self._adopt(case)
        last = printed.strip().splitlines()[-1]
        if status == 0 or case.refused is None or case.refused not in last:
            raise StepError(last)
        return f"refused: {case.refused}"

    def _adopted(self, case: ForeignCase) -> str:
        status, printed = self._adopt(case)
        found = re.search(r"(\d+) samples? recorded, (tolerance \S+)", printed)
        if status != 0 or found is None:
            raise StepError(printed.strip().splitlines()[-1])
        return f"{found[1]} sample{'' if found[1] == '1' else 's'}, {found[2]}"

    def _rolled_out(self, case: ForeignCase) -> str:
        _run(self._stack, "upload_model.py", f"served_model={case.name}", *QUICK, *case.words)
        return f"{self._right_answers(case.name)} serves, its answers are right"

    def _tried_out(self, case: ForeignCase) -> str:
        with self._asking(case.name) as answers:
            words = (*TRIAL, f"canary.minutes={case.trial_minutes}", f"{DELAY}=3", *case.words)
            _run(self._stack, "upload_model.py", f"served_model={case.name}", *words)
        version = self._right_answers(case.name)
        wrong = {kind: count for (kind, _), count in answers.items() if kind != "right"}
        if wrong:
            raise StepError(f"clients got {wrong}")
        report = json.loads((self._stack.state / "trials" / f"{case.name}-{version}.json").read_text())
        compared, asked = report["evidence"]["compared"], sum(answers.values())
        copies = f"{compared['same']} copies answered the same, {compared['differs']} differently"
        return f"{version} promoted; {asked} answers, none wrong or lost; {copies}"

    def _rolled_back(self, case: ForeignCase) -> str:
        _run(self._stack, "-m", "delivery", "rollback", f"served_model={case.name}", *QUICK)
        return f"{self._right_answers(case.name)} serves again"

    def _loaded(self, case: ForeignCase) -> str:
        target = self._folder / "reports" / f"{case.name}.json"
        target.parent.mkdir(exist_ok=True)
        words = (f"stress.requests={case.requests}", "stress.rounds=2", "stress.warmup=2", "stress.timeout_s=120")
        clients = f"stress.clients={CLIENTS}"
        _run(self._stack, "stress.py", f"served_model={case.name}", *words, clients, f"stress.report={target}")
        report: dict[str, Any] = json.loads(target.read_text())
        return f"{report['requests']} requests, {sum(report['errors'].values())} failed"

    def _restored(self, case: ForeignCase) -> str:
        def serves() -> bool:
            try:
                return bool(self._right_answers(case.name))
            except (StepError, requests.RequestException):
                time.sleep(1)  # the model loads meanwhile
                return False

        self._kill_engine()
        try:
            wait_for(serves, RESTORE_S)
        except AssertionError:
            self._right_answers(case.name)
        return f"{self._right_answers(case.name)} serves again after a kill -9"

    def _right_answers(self, name: str) -> str:
        """Compare the answers to all samples through the gateway, and return the version that gave them."""
        versions = set()
        for sample, tolerance in self._samples(name):
            response = self._ask(name, sample)
            given = HandlerResponse(response.status_code, _lower(response), response.content)
            if (found := golden.response_misses(sample.predictions, given, tolerance)) is not None:
                raise StepError(f"a sample {found}")
            versions.add(response.headers["x-model-version"])
        if len(versions) != 1:
            raise StepError(f"versions {sorted(versions)} answer")
        return str(versions.pop())

    def _samples(self, name: str) -> list[tuple[golden.GoldenSample, float]]:
        document = open_archive(self._stack.archives / f"{name}.mar").golden
        answers = golden.of_document(document, name)
        return [(each, answers.tolerance) for each in answers.samples]

    def _ask(self, name: str, sample: golden.GoldenSample) -> requests.Response:
        headers = {**sample.headers, "Content-Type": sample.content_type}
        return requests.post(self._stack.predict_url(name), data=sample.body, headers=headers, timeout=120)

    def _answer(self, name: str, sample: golden.GoldenSample, tolerance: float) -> tuple[str, str]:
        """Send a sample, and return `right` or what is wrong, and the version that answered."""
        try:
            response = self._ask(name, sample)
        except requests.RequestException as error:
            return type(error).__name__, ""
        given = HandlerResponse(response.status_code, _lower(response), response.content)
        missed = golden.response_misses(sample.predictions, given, tolerance)
        return "right" if missed is None else missed[:200], response.headers.get("x-model-version", "")

    @contextmanager
    def _asking(self, name: str) -> Iterator[Counter[tuple[str, str]]]:
        """Clients that keep sending the samples until the block ends; yields answers by kind and version."""
        answers: Counter[tuple[str, str]] = Counter()
        lock, over, samples = threading.Lock(), threading.Event(), self._samples(name)

        def ask(first: int) -> None:
            for sample, tolerance in itertools.islice(itertools.cycle(samples), first, None):
                if over.wait(PAUSE_S):
                    return
                kind, version = self._answer(name, sample, tolerance)
                with lock:
                    answers[kind, version] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _kill_engine(self) -> None:
        state = self._stack.state
        folders = Folders(state, state / "model_store", keeps_model_store=False)
        for process in processes.find(profile_of(self._engine).part, folders):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _lower(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _run(stack: Stack, *arguments: str) -> str:
    """Run a command and return its output. Raises StepError with its last line."""
    with stack.start(*arguments) as started:
        printed: str = started.communicate()[0]
    if started.returncode != 0:
        raise StepError((printed.strip().splitlines() or ["it printed nothing"])[-1])
    return printed
