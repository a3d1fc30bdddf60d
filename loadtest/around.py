"""What the settings tell about the stack under load, when it is the stack of these very settings."""

from pathlib import Path

import engines
from loadtest.run import NOTHING, Surroundings
from settings import Settings


def surroundings(settings: Settings) -> Surroundings:
    """Nothing for a gateway elsewhere: its engine, processes and API key are not the ones that the settings describe.

    Raises ConfigError when the key cannot be read.
    """
    if settings.stress.url.rstrip("/") != settings.gateway.url:
        return NOTHING
    engine, gateway = settings.engine, settings.gateway
    shown = {"processes", "admission", "coalesce", "cache", "upstream_connections", "deadline_ms"}
    return Surroundings(
        engine_metrics=engine.metrics_url,
        engine=engines.profile(settings),
        state=Path(settings.paths.state),
        headers=gateway.key_headers(),
        configuration={
            "gateway": gateway.model_dump(mode="json", include=shown),
            "engine": engine.model_dump(mode="json", include={"name", "job_queue_size", "response_timeout_s"}),
        },
    )
