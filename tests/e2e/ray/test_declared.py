"""Models that are declared to Serve: by the very configuration that the command writes, applied as KubeRay applies it.

The cluster runs from a folder with nothing but what its image copies.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
import yaml

from bench.local_stack import free_ports
from bench.swaps import MixedLoad, TimedAnswer
from engines.python.registry import Registration
from engines.ray.programs import head_command
from settings import load
from settings.load import ROOT
from settings.schema import RayServeSettings
from stack import ray_serve
from stack.folders import Folders
from stack.local_services import listeners
from tests.docker.dockerfile import lay_out, read
from tests.e2e.conftest import Stack, left_running, new_stack, unseen_digits
from tests.e2e.ray.nodes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
# A slow machine is no failure: whoever waits, waits.
PATIENT = ("gateway.deadline_ms=120000", "gateway.admission.max_wait_ms=120000", "engine.start_timeout_s=280")
PROXIED = "engine.proxies=head"  # as the RayService has it
MANY = 100


@dataclass(frozen=True)
class Declared:
    """A stack whose models are declared, and the way to declare others."""

    stack: Stack
    dashboard: str
    cluster: dict[str, str]

    def publish(self, *words: str) -> str:
        """Put the built archive of digits into the store; returns its name there."""
        return self.stack.run("-m", "delivery", "publish", *words).split()[0]

    def write(self, *names: str) -> Path:
        """The configuration that declares these models."""
        file = self.stack.state / "serve.yaml"
        command = [sys.executable, "-m", "delivery", "declare", *names, PROXIED]
        file.write_bytes(
            subprocess.run(command, cwd=ROOT, env=self.stack.env, check=True, stdout=subprocess.PIPE).stdout
        )
        return file

    def serve(self, *words: str) -> str:
        """One of Serve's own commands; returns what it printed."""
        command = [sys.executable, "-m", "ray.serve.scripts", *words, "--address", self.dashboard]
        done = subprocess.run(command, env=self.cluster, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self, version: str) -> str:
        """What Serve says of a version of digits; "" for one that it does not have."""
        name = Registration("digits", version, "", "", 1, 0, 1).application
        found = yaml.safe_load(self.serve("status"))["applications"].get(name)
        return "" if found is None else str(found["status"])

    def versions(self, model: str) -> list[str]:
        """What the gateway tells of a model."""
        answer = requests.get(f"{self.stack.gateway}/models/{model}", timeout=60)
        return [each["version"] for each in answer.json()["versions"]] if answer.status_code == 200 else []

    def predict(self, picture: bytes) -> requests.Response:
        """A digit by way of the gateway."""
        url = f"{self.stack.gateway}/models/digits/predict"
        return requests.post(url, data=picture, headers={"Content-Type": "image/png"}, timeout=180)

    def manage(self, method: str, path: str, **query: str) -> requests.Response:
        """A call of the Management API."""
        key = json.loads((self.stack.state / "ray" / "key_file.json").read_text())["management"]["key"]
        url = f"http://127.0.0.1:{self.stack.env['MARINA_MANAGEMENT_PORT']}{path}"
        return requests.request(method, url, params=query, headers={"Authorization": f"Bearer {key}"}, timeout=60)


@pytest.fixture(scope="module")
def declared(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Declared]:
    """digits and cartpole in their first versions, declared before anything else runs in the cluster."""
    made = new_stack(
        tmp_path_factory.mktemp("state"), shutil.copytree(archives, tmp_path_factory.mktemp("own") / "mars")
    )
    made.env["MARINA_ENGINE"] = "ray"
    [dashboard] = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        made.use(patch)
        settings = load([f"engine.dashboard_port={dashboard}"])
    assert isinstance(settings.engine, RayServeSettings)
    folders = Folders.of(settings)
    image = tmp_path_factory.mktemp("image")
    lay_out(read(ROOT / "docker" / "Dockerfile.ray"), ROOT, image)
    env = {**os.environ, **ray_serve.environment(settings.engine, folders), "PYTHONPATH": os.fspath(image)}
    # The stack joins it as a cluster of others, whose token the environment names.
    made.env.update({name: env[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")})
    found = Declared(made, f"http://127.0.0.1:{dashboard}", env)
    words = (f"engine.address=127.0.0.1:{made.env['MARINA_RAY_PORT']}", "engine.declared=true", *PATIENT)
    with contextlib.ExitStack() as ending:
        ray_serve.prepare(folders)
        ending.enter_context(head(settings.engine, folders, image, env))
        ending.callback(made.run, "-m", "stack", "down", *words)
        made.run("-m", "stack", "up", *words)
        for model in ("digits", "cartpole"):
            found.publish(f"served_model={model}")
        found.serve("deploy", os.fspath(found.write("digits-1.0", "cartpole-1.0")))
        wait_until(lambda: answers(found, "digits") and answers(found, "cartpole"), "both models answer")
        yield found
    assert left_running(made) == []


@contextlib.contextmanager
def head(engine: RayServeSettings, folders: Folders, image: Path, env: dict[str, str]) -> Iterator[None]:
    """A head that runs in the image's folder."""
    with (folders.state / "head.log").open("wb") as log:
        command = head_command(engine, folders.temporary / "ray")
        process = subprocess.Popen(command, cwd=image, env=env, stdout=log, stderr=log)
        try:
            wait_until(lambda: engine.ray_port in listeners(), f"the head listens, see {log.name}")
            yield
        finally:
            # Asked to end, it would wait half a minute for workers that nobody asks any more.
            parts = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait(60)
            for part in parts:
                with contextlib.suppress(psutil.NoSuchProcess):
                    part.kill()


def front(found: Declared) -> psutil.Process:
    """The process that answers requests."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("RAY_TMPDIR") == found.cluster["RAY_TMPDIR"]
            if ours and "marina:Front" in " ".join(process.cmdline()):
                return process
    raise LookupError("no Front runs")


def answers(found: Declared, model: str) -> bool:
    url = f"{found.stack.gateway}/models/{model}/predict"
    state = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
    if model == "digits":
        return found.predict(unseen_digits()[0][0]).status_code == 200
    return requests.post(url, json=state, timeout=180).status_code == 200


def under_load(found: Declared, steps: Callable[[MixedLoad], None]) -> list[TimedAnswer]:
    """Mixed load from before the steps begin until they are done."""
    pictures, _ = unseen_digits()
    load = MixedLoad(found.stack.gateway, 6, pictures[:50])

    def once_it_runs() -> None:
        wait_until(lambda: len(load.answers) >= MANY, "the load runs")
        steps(load)
        seen = len(load.answers)
        wait_until(lambda: len(load.answers) >= seen + MANY, "the load still runs")

    async def run() -> None:
        running = asyncio.create_task(load.run())
        try:
            await asyncio.to_thread(once_it_runs)
        finally:
            load.stop()
            await running

    asyncio.run(run())
    return load.answers


def last_versions(load: MixedLoad) -> set[str | None]:
    """The versions of the last answers of digits."""
    return {answer.version for answer in [each for each in list(load.answers) if each.model == "digits"][-50:]}


def test_what_is_declared_answers_rightly_through_the_gateway(declared: Declared) -> None:
    pictures, labels = unseen_digits()
    told = [declared.predict(picture) for picture in pictures[:MANY]]
    assert {answer.status_code for answer in told} == {200}
    right = sum(each.json()["predictions"][0]["label"] == label for each, label in zip(told, labels, strict=False))
    assert right >= 0.97 * MANY
    assert {answer.json()["version"] for answer in told} == {"1.0"}


def test_a_new_version_takes_over_and_the_old_one_goes_with_no_failed_request(declared: Declared) -> None:
    assert declared.publish("served_model.request_params.threads=1") == "digits-1.1"

    switched: list[int] = []

    def steps(load: MixedLoad) -> None:
        declared.serve("deploy", os.fspath(declared.write("digits-1.1,1.0", "cartpole-1.0")))
        # Each Front takes over by itself.
        wait_until(lambda: last_versions(load) == {"1.1"}, "the new version alone answers")
        switched.append(len(load.answers))
        declared.serve("deploy", os.fspath(declared.write("digits-1.1", "cartpole-1.0")))
        wait_until(lambda: declared.status("1.0") == "", "the old version is gone")

    found = under_load(declared, steps)
    assert {answer.status for answer in found} == {200}
    assert {answer.version for answer in found[switched[0] :] if answer.model == "digits"} == {"1.1"}
    assert {answer.version for answer in found if answer.model == "cartpole"} == {"1.0"}
    wait_until(lambda: declared.versions("digits") == ["1.1"], "the gateway knows the new version alone")


def test_a_version_whose_workers_do_not_start_never_answers(declared: Declared) -> None:
    name = declared.publish("served_model.request_params.threads=2")
    assert name == "digits-1.2"
    file = declared.write(f"{name},1.1", "cartpole-1.0")
    # What the store has now is not what was declared.
    shutil.copy(declared.stack.archives / "digits-1.1.mar", declared.stack.archives / f"{name}.mar")

    def steps(load: MixedLoad) -> None:
        declared.serve("deploy", os.fspath(file))
        wait_until(lambda: declared.status("1.2") == "DEPLOY_FAILED", "its workers do not start")

    found = under_load(declared, steps)
    assert {(answer.status, answer.version) for answer in found if answer.model == "digits"} == {(200, "1.1")}
    picture = unseen_digits()[0][0]
    front(declared).kill()
    wait_until(lambda: declared.predict(picture).status_code == 200, "a Front that is started anew answers")
    assert declared.predict(picture).json()["version"] == "1.1"
    declared.serve("deploy", os.fspath(declared.write("digits-1.1", "cartpole-1.0")))
    wait_until(lambda: declared.status("1.2") == "" and declared.versions("digits") == ["1.1"], "it is gone")


def test_what_is_declared_is_described_and_not_changed_otherwise(declared: Declared) -> None:
    told = declared.manage("GET", "/models/digits/1.1", customized="true").json()
    assert told[0]["customizedMetadata"]["model_name"] == "digits"
    for method, path in [("POST", "/models"), ("PUT", "/models/digits/1.1"), ("DELETE", "/models/digits/1.1")]:
        answer = declared.manage(method, path, url="digits-1.1.mar", min_worker="1", synchronous="true")
        assert (answer.status_code, "engine.declared" in answer.text) == (403, True)
    words = ("served_model=cartpole", "served_model.request_params.max_batch_delay=7")
    refused = declared.stack.run("upload_model.py", *words, status=1)
    assert "models are declared to Serve here" in refused
    assert declared.versions("cartpole") == ["1.0"]


def test_the_manager_of_the_image_runs_in_its_folder(declared: Declared) -> None:
    command = [sys.executable, "-m", "engines.ray", "engine=torchserve"]
    image = declared.cluster["PYTHONPATH"]
    env = {name: value for name, value in declared.cluster.items() if not name.startswith("MARINA_")}
    done = subprocess.run(command, cwd=image, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stderr)["event"] == "engine=torchserve: this is the manager of engine=ray"
    modules = sorted(path.relative_to(image) for path in Path(image, "engines").rglob("*.py"))
    names = [
        ".".join(path.with_suffix("").parts) for path in modules if path.name not in {"__main__.py", "__init__.py"}
    ]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        cwd=image,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
