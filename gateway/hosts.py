"""The engine behind the gateway, whether that is one host or several: who answers, and who is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

import engines
from deployments.traffic import live_folder, read_live
from engines.interface import Front, Keys
from gateway.catalog import Look
from gateway.engine import Engine
from gateway.metrics import Metrics
from gateway.node import Node
from gateway.nodes import Nodes
from gateway.session import open_pool
from gateway.survey import Survey
from gateway.tracing import Tracer
from gateway.upstream import Upstream
from gateway.wire import Pool
from settings.schema import Node as Place
from settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Hosts:
    """What predicts, what looks at the models, and what must be started and ended with the gateway."""

    engine: Engine
    look: Look
    keys: Sequence[Keys]
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
    engine, places = engines.of(settings), settings.engine.hosts
    fronts = [engine.front(place, session) for place in places]
    pools = [_pool(place, settings) for place in places]
    keys = [front.keys for front in fronts]
    if not settings.engine.nodes:
        [place], [front], [pool] = places, fronts, pools
        return Hosts(_upstream(place, front, pool, metrics, tracer), Survey(front.reader).look, keys, pools)
    folder = live_folder(settings)
    several = [
        Node(
            place.name,
            _upstream(place, front, pool, metrics, tracer, place.name),
            Survey(front.reader).look,
            front.reader.answers,
            lambda: read_live(folder),
            metrics,
        )
        for place, front, pool in zip(places, fronts, pools, strict=True)
    ]
    nodes = Nodes(several, metrics, settings.engine.check_s)
    return Hosts(nodes, nodes.look, keys, pools, nodes)


def _upstream(
    place: Place, front: Front, pool: Pool, metrics: Metrics, tracer: Tracer, name: str | None = None
) -> Upstream:
    authority = urlsplit(place.inference_url).netloc  # host and port, as a request names them
    return Upstream(authority, pool, front.dialect, front.keys, metrics, tracer, name)


def _pool(place: Place, settings: Settings) -> Pool:
    parts = urlsplit(place.inference_url)
    return open_pool(settings.gateway, parts.hostname or "", parts.port or 80)
