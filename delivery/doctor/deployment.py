"""The running deployment, as the settings name it: its engine hosts, its sockets, its records."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import requests

import engines
from delivery.doctor import ask
from delivery.doctor.process import EngineProcess, find
from delivery.doctor.sockets import Sockets
from engines.engine_profile import ModelVersion
from engines.profiles import TORCHSERVE
from engines.torchserve import api
from engines.torchserve.client import EngineClient
from errors import EngineError
from settings import Settings
from settings.schema import EngineHostSettings

TITLE = TORCHSERVE.title


@dataclass(frozen=True)
class Deployment:
    """Everything that is looked at."""

    settings: Settings
    sockets: Sockets

    @property
    def state(self) -> Path:
        """The stack's state folder."""
        return Path(self.settings.paths.state)

    @cached_property
    def hosts(self) -> tuple["Host", ...]:
        """Each engine host."""
        return tuple(Host(self, node) for node in self.settings.engine.hosts)


@dataclass(frozen=True)
class Host:
    """One TorchServe. What several checks ask is asked once; without an answer each of them says so."""

    deployment: Deployment
    node: EngineHostSettings

    @property
    def name(self) -> str:
        """How the report calls it."""
        return f"engine {self.node.name}" if self.deployment.settings.engine.nodes else "engine"

    @cached_property
    def process(self) -> EngineProcess:
        """Its process on this machine; raises EngineError when it is not to be seen."""
        return find(self.deployment.sockets, self.node.management_url)

    @cached_property
    def engine(self) -> EngineClient:
        """Its client, which has the keys."""
        return engines.connect(self.deployment.settings, self.node)

    @cached_property
    def is_open(self) -> bool:
        """Whether its Management API answers without a key; raises when it does not answer at all."""
        return ask.plain("GET", f"{self.node.management_url}/models", params={"limit": "1"}).status_code == 200

    @cached_property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Every registered version of every model."""
        return tuple(version for model in self.engine.models() for version in self.engine.versions(model))

    def manage(self, method: str, path: str, **params: str) -> requests.Response:
        """One call with the management key, of which there is none to show when nobody asks for it."""
        headers = {} if self.is_open else {"Authorization": f"Bearer {self.key()}"}
        return ask.plain(method, f"{self.node.management_url}{path}", headers=headers, params=params)

    def infer(self, version: ModelVersion, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        """One request to a version's workers."""
        url = self.node.inference_url + api.prediction_path(version.model, version.version)
        known = {} if self.is_open else {"Authorization": f"Bearer {self.engine.keys.token('inference')}"}
        return ask.plain("POST", url, headers={**headers, **known}, body=body)

    def key(self) -> str:
        """The management key, renewed when it has expired."""
        if not self.engine.answers():
            raise EngineError(f"TorchServe at {self.node.management_url} does not accept the keys")
        return self.engine.keys.token("management")

    def forget(self) -> None:
        """Close its connections."""
        self.engine.close()
