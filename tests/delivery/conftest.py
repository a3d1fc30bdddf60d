"""A stack whose engine is in this process: its store, its hosts, and an archive to roll out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

import engines
from archive.signing import generate_keys
from delivery.rollout import RolloutResult, roll_out
from deployments.serving import ServingRecord
from settings import Settings, load
from tests.archive.made import archive_at
from tests.delivery.engine_in_memory import HostInMemory

Model = TypeVar("Model", bound=BaseModel)
NODES = "{name:%s,inference_url:'http://127.0.0.1:1',management_url:'http://127.0.0.1:1',token:x,unpacked:'%s'}"


@dataclass(frozen=True)
class Scene:
    """A stack below `folder`; `base` are its settings, which take half a second to compose."""

    folder: Path
    hosts: dict[str, HostInMemory]
    base: Settings

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def built(self) -> Path:
        return self.folder / "built" / "toy.mar"

    def settings(self, *, delay: int = 0, **groups: dict[str, Any]) -> Settings:
        """The stack's settings with this `max_batch_delay` and other values in some groups."""
        params = {"max_batch_delay": delay, **groups.pop("request_params", {})}
        model = self.base.served_model
        changed = {"served_model": _with(model, request_params=_with(model.request_params, **params))}
        changed |= {group: _with(getattr(self.base, group), **values) for group, values in groups.items()}
        return _with(self.base, **changed)

    def upload(self, delay: int, **groups: dict[str, Any]) -> RolloutResult:
        """Roll the built archive out with this `max_batch_delay`, which makes it another version."""
        return roll_out(self.built, self.settings(delay=delay, **groups))

    def sign(self) -> dict[str, Any]:
        """Sign the built archive, and return the settings that ask for it."""
        private, public = generate_keys(self.folder / "keys")
        archive_at(self.built, key=private)
        return {"required": True, "public_key": str(public)}

    def serving(self) -> set[str]:
        """The versions that answer, over all hosts."""
        return {host.defaults.get("toy", "nothing") for host in self.hosts.values()}

    def history(self) -> list[str]:
        """The recorded versions, the serving one first."""
        found = ServingRecord.of(self.settings()).get("toy")
        return [served.version for served in found.versions] if found else []

    def stored(self) -> set[str]:
        return {path.name for path in self.store.glob("*.mar")}

    def litter(self) -> list[str]:
        """What a rollout may leave nothing of: journals, drafts, folders of drafts."""
        hidden = [path.name for path in (*self.store.rglob(".*"), *self.state.rglob(".*"))]
        return hidden + [path.name for path in (self.state / "rollouts").rglob("*.json")]


def _with(model: Model, **changed: Any) -> Model:
    return model.model_copy(update=changed)


def made_scene(folder: Path, monkeypatch: pytest.MonkeyPatch, *nodes: str) -> Scene:
    """A stack of one engine, or of several with these names."""
    for name in ("store", "state", "built", *(nodes or ("engine",))):
        (folder / name).mkdir()
    overrides = ["store=local", f"store.folder={folder / 'store'}", f"paths.state={folder / 'state'}"]
    overrides += ["rollout.watch_s=0", "rollout.tuned=false", f"engine.unpacked={folder / 'engine'}"]
    if nodes:
        overrides.append(f"engine.nodes=[{','.join(NODES % (name, folder / name) for name in nodes)}]")
    settings = load(["served_model=cartpole", *overrides])
    hosts = {node.name: HostInMemory(node, folder / "store") for node in settings.engine.hosts}
    first = next(iter(hosts.values()))
    monkeypatch.setattr(engines, "connect", lambda _, node=None: hosts[node.name] if node else first)
    made = Scene(folder, hosts, settings)
    archive_at(made.built)
    return made


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """One engine."""
    return made_scene(tmp_path, monkeypatch)


@pytest.fixture
def two_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Two of them."""
    return made_scene(tmp_path, monkeypatch, "a", "b")


@pytest.fixture(params=[(), ("a", "b")], ids=["one engine", "two hosts"])
def any_scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """One engine, and two hosts."""
    return made_scene(tmp_path, monkeypatch, *request.param)
