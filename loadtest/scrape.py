"""Reads Prometheus metrics over HTTP: one sum for each name and model."""

import math
from collections.abc import Mapping

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

Counters = Mapping[tuple[str, str], float]
"""(name of a sample, model) → its value, summed over versions, statuses, routes and workers."""
MODEL_LABELS = ("model", "model_name", "ModelName")


async def read(session: aiohttp.ClientSession, url: str) -> Counters | None:
    """The counters at `url`; None when nobody answers there with metrics."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            if answer.status != 200:
                return None
            return parse(await answer.text())
    except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
        return None


def parse(text: str) -> Counters | None:
    """The counters of a text in Prometheus' format; None when it is something else. Buckets are left out."""
    found: dict[tuple[str, str], float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = next((sample.labels[name] for name in MODEL_LABELS if name in sample.labels), "")
                if "le" not in sample.labels and math.isfinite(sample.value):
                    # The parser gives a counter's samples the suffix whether or not the server had written it.
                    name = sample.name.removesuffix("_total")
                    found[name, model] = found.get((name, model), 0.0) + sample.value
    except (ValueError, KeyError, IndexError):
        return None
    return found


def grown(before: Counters | None, after: Counters | None) -> Counters | None:
    """By how much each counter grew. One that fell belongs to a server that was started anew: it counts from zero."""
    if before is None or after is None:
        return None
    return {key: value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value
            for key, value in after.items()}  # fmt: skip
