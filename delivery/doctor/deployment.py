"""The running deployment that the doctor examines: its engine hosts, their processes, its sockets and its records."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import requests

import engines
from delivery.doctor import probes
from delivery.engine_process import EngineProcess, find_engine_process
from delivery.sockets import Sockets
from deployments.serving import ServingRecord, VersionHistory
from engines.engine_profile import ModelVersion
from engines.torchserve import api
from engines.torchserve.engine_client import EngineClient
from errors import EngineError, MetricsError
from prometheus import addresses
from settings import Settings
from settings.schema import EngineHostSettings


@dataclass(frozen=True)
class Deployment:
    """The deployment of the settings, on the sockets of this machine."""

    settings: Settings
    sockets: Sockets

    @property
    def state(self) -> Path:
        """The stack's state folder."""
        return Path(self.settings.paths.state)

    @property
    def recorded(self) -> dict[str, VersionHistory]:
        """The versions that should serve, by model."""
        return ServingRecord.of(self.settings).all()

    @cached_property
    def hosts(self) -> tuple["ExaminedHost", ...]:
        """The engine hosts of the deployment."""
        return tuple(ExaminedHost(self, node) for node in self.settings.engine.hosts)

    def each_gateway(self) -> Iterator[tuple[str, "Deployment"]]:
        """Yield the name of each gateway's part in the report, and the deployment as if it had this gateway alone."""
        gateway = self.settings.gateway
        try:
            urls = addresses(gateway) if gateway.instances else []
        except MetricsError:
            urls = []  # its first check says so
        if not urls:
            yield "gateway", self
        for url in urls:
            host, _, port = urlsplit(url).netloc.rpartition(":")
            alone = gateway.model_copy(update={"host": host, "port": int(port), "instances": []})
            yield f"gateway {host}:{port}", replace(self, settings=self.settings.model_copy(update={"gateway": alone}))


@dataclass(frozen=True)
class ExaminedHost:
    """One engine host; answers that several checks use are requested once."""

    deployment: Deployment
    node: EngineHostSettings

    @property
    def name(self) -> str:
        """The name of its part in the report."""
        return f"engine {self.node.name}" if self.deployment.settings.engine.nodes else "engine"

    @cached_property
    def process(self) -> EngineProcess:
        """Its process on this machine. Raises EngineError when it is not visible."""
        return find_engine_process(self.deployment.sockets, self.node.management_url)

    @cached_property
    def engine(self) -> EngineClient:
        """Its client, which has the keys."""
        return engines.connect(self.deployment.settings, self.node)

    @cached_property
    def is_open(self) -> bool:
        """True when its Management API answers without a key; raises when it does not answer at all."""
        return probes.plain("GET", f"{self.node.management_url}/models", params={"limit": "1"}).status_code == 200

    @cached_property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Every registered version of every model."""
        return tuple(version for model in self.engine.models() for version in self.engine.versions(model))

    def manage(self, method: str, path: str, **params: str) -> requests.Response:
        """Send one management request, with the key where one is required."""
        headers = {} if self.is_open else {"Authorization": f"Bearer {self.key()}"}
        return probes.plain(method, f"{self.node.management_url}{path}", headers=headers, params=params)

    def infer(self, version: ModelVersion, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        """Send one request to a version's workers."""
        url = self.node.inference_url + api.prediction_path(version.model, version.version)
        known = {} if self.is_open else {"Authorization": f"Bearer {self.engine.keys.token('inference')}"}
        return probes.plain("POST", url, headers={**headers, **known}, body=body)

    def key(self) -> str:
        """Return the management key, renewed when it has expired."""
        if not self.engine.answers():
            raise EngineError(f"TorchServe at {self.node.management_url} does not accept the keys")
        return self.engine.keys.token("management")

    def close(self) -> None:
        """Close the client's connections."""
        self.engine.close()
