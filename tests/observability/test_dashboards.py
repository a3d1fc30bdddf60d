import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from settings.load import ROOT
from tests.observability.queries import DASHBOARDS, panels

GRAFANA = ROOT / "docker" / "grafana"
each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def dashboard(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def sources() -> dict[str, str]:
    """Types of the provisioned data sources by uid."""
    found = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "marina.yml").read_text())["datasources"]
    return {each["uid"]: each["type"] for each in found}


def test_each_dashboard_has_a_uid_of_its_own() -> None:
    uids = [dashboard(path)["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(uids) == 3


@each_dashboard
def test_panels_have_ids_of_their_own_and_lie_beside_each_other(path: Path) -> None:
    loaded = dashboard(path)
    ids = [panel["id"] for panel in loaded["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations((panel["gridPos"] for panel in loaded["panels"]), 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in loaded["panels"])


@each_dashboard
def test_every_panel_explains_itself_and_asks_a_provisioned_source(path: Path) -> None:
    for panel in panels(dashboard(path)):
        assert panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert sources()[target["datasource"]["uid"]] == target["datasource"]["type"]
            assert target["expr"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)


@each_dashboard
def test_variables_and_annotations_ask_a_provisioned_source(path: Path) -> None:
    loaded = dashboard(path)
    for each in [*loaded["templating"]["list"], *loaded["annotations"]["list"]]:
        assert sources()[each["datasource"]["uid"]] == each["datasource"]["type"]
    assert "Versions" in loaded["annotations"]["list"][0]["name"]


def test_the_provider_reads_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "marina.yml").read_text())["providers"][0]
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert provider["options"]["path"] == mounts["./grafana/dashboards"]


def test_the_panels_of_a_triton_dashboard_are_there() -> None:
    models, triton = (
        {panel["title"] for panel in panels(dashboard(GRAFANA / "dashboards" / f"{name}.json"))}
        for name in ("models", "triton")
    )
    shared = {"Inference time", "Success and failure", "Inference rate", "Compute"}
    assert models >= shared | {"Wait inside the engine"}
    assert triton >= shared | {"Queue"}


# What Grafana keeps for the Prometheus data source and its own editor, beside the schema.
BESIDE = {"step", "titleFormat", "textFormat", "tagKeys", "definition"}


@each_dashboard
def test_grafanas_own_model_of_a_dashboard_takes_every_field_of_it(path: Path) -> None:
    plugins.register_default_plugins()
    read = Dashboard.from_json(dashboard(path))
    again = json.loads(JSONEncoder().encode(read))
    assert [place for place in _lost(dashboard(path), again) if place.rpartition("/")[2] not in BESIDE] == []


def _lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Where something stood that is not there any more, or stands there otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from _lost(value, kept[key], f"{place}/{key}") if key in kept else [f"{place}/{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{place}/{number}")
    elif given != kept:
        yield place
