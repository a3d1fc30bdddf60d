"""What workers are told of tracing, on whichever engine they run."""

from settings.schema import TracingSettings


def environment(tracing: TracingSettings) -> dict[str, str]:
    """Variables that an engine hands on to its workers; the caller's own environment has no say in it."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": tracing.endpoint or "",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(tracing.sample),
    }
