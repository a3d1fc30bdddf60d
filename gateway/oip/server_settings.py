"""The trace and log settings as Triton's clients read them: those of the configuration, which no client changes."""

from typing import Any

from errors import NotAllowed
from settings.schema import GatewaySettings


def trace_settings(gateway: GatewaySettings, changes: Any = None) -> dict[str, Any]:
    """Return the trace settings. Raises NotAllowed for a change."""
    _refuse(changes, "gateway.tracing.endpoint and gateway.tracing.sample")
    tracing = gateway.tracing
    is_on = tracing.endpoint is not None and tracing.sample > 0
    return {
        "trace_level": ["TIMESTAMPS" if is_on else "OFF"],
        "trace_rate": str(round(1 / tracing.sample) if is_on else 0),
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "opentelemetry",
    }


def log_settings(gateway: GatewaySettings, changes: Any = None) -> dict[str, Any]:
    """Return the log settings. Raises NotAllowed for a change."""
    _refuse(changes, "gateway.access_log")
    return {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": int(gateway.access_log),
        "log_format": "default",
    }


def _refuse(changes: Any, settings: str) -> None:
    if changes:
        raise NotAllowed(f"clients do not change this; set {settings} and start the gateway again")
