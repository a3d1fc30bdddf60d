"""The engine behind the gateway, whether that is one host or several: who answers, and who is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from gateway.catalog import Look
from gateway.engine import Engine
from gateway.keys import KeyPlace, KeyRing
from gateway.live import read_live
from gateway.management import Management
from gateway.metrics import Metrics
from gateway.node import Node, ping
from gateway.nodes import Nodes
from gateway.session import open_pool
from gateway.survey import Survey
from gateway.tracing import Tracer
from gateway.upstream import Upstream
from gateway.wire import Pool
from settings.schema import Node as Host
from settings.schema import Settings, TorchServe

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Hosts:
    """What predicts, what looks at the models, and what must be started and ended with the gateway."""

    engine: Engine
    look: Look
    keys: Sequence[KeyRing]
    pools: Sequence[Pool]
    nodes: Nodes | None = field(default=None)

    def start(self) -> None:
        """Begins to check the hosts, where there are several."""
        if self.nodes is not None:
            self.nodes.start()

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        if self.nodes is not None:
            await self.nodes.close()
        for pool in self.pools:
            pool.close()
        for keys in self.keys:
            await keys.close()


def hosts(settings: Settings, session: aiohttp.ClientSession, metrics: Metrics, tracer: Tracer) -> Hosts:
    """The engine that the settings name; a single one is asked directly, as nothing can be chosen or left out."""
    engine = settings.engine
    rings = [KeyRing(_key_place(host, engine), session) for host in engine.hosts]
    pools = [_pool(host, settings) for host in engine.hosts]
    if not engine.nodes:
        [host], [keys], [pool] = engine.hosts, rings, pools
        upstream = Upstream(_authority(host), pool, keys, metrics, tracer)
        return Hosts(upstream, Survey(Management(host.management_url, session, keys)).look, rings, pools)
    folder = Path(settings.paths.state) / "live"
    several = [
        Node(
            host.name,
            Upstream(_authority(host), pool, keys, metrics, tracer, host.name),
            Survey(Management(host.management_url, session, keys)).look,
            ping(host.inference_url, session),
            lambda: read_live(folder),
            metrics,
        )
        for host, keys, pool in zip(engine.hosts, rings, pools, strict=True)
    ]
    nodes = Nodes(several, metrics, engine.check_s)
    return Hosts(nodes, nodes.look, rings, pools, nodes)


def _authority(host: Host) -> str:
    """Host and port, as a request names them."""
    return urlsplit(host.inference_url).netloc


def _pool(host: Host, settings: Settings) -> Pool:
    parts = urlsplit(host.inference_url)
    return open_pool(settings.gateway, parts.hostname or "", parts.port or 80)


def _key_place(host: Host, engine: TorchServe) -> KeyPlace:
    """Where a host's keys are, and when they are renewed.

    That is in the last fifth of their life, but not earlier than a minute before its end.
    """
    margin_s = min(60.0, engine.token_expiration_min * 60 / 5)
    file = None if host.key_file is None else ROOT / host.key_file
    return KeyPlace(file, host.management_url, margin_s, host.token)
