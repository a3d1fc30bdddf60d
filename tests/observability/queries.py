"""The Prometheus queries of dashboards and alerts, and which metrics and labels they name."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from settings.load import ROOT

DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))
RULES = ROOT / "docker" / "prometheus"
# Written by Prometheus itself.
OWN = {"up", "ALERTS"}
_WORDS = re.compile(
    r"sum|min|max|count|rate|increase|histogram_quantile|min_over_time|by|on|and|or|unless|offset|vector|le|[0-9.e]+"
)


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""

    where: str
    text: str

    def filled_in(self, window: str) -> str:
        """As Grafana sends it: every model, and `window` for the interval of rates."""
        return self.text.replace("$__rate_interval", window).replace("$model", ".+")


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels but the headings between them; a closed heading holds its own."""
    inside = [panel for row in dashboard["panels"] if row["type"] == "row" for panel in row["panels"]]
    return [*(panel for panel in dashboard["panels"] if panel["type"] != "row"), *inside]


def of_panels() -> Iterator[Query]:
    """What the panels ask Prometheus."""
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel["targets"]:
                if target["datasource"]["uid"] == "prometheus":
                    yield Query(f"{path.stem}: {panel['title']} {target['refId']}", target["expr"])


def of_annotations() -> Iterator[Query]:
    """What the marks on the time axis ask Prometheus."""
    for path in DASHBOARDS:
        for each in json.loads(path.read_text())["annotations"]["list"]:
            yield Query(f"{path.stem}: {each['name']}", each["expr"])


def of_rules(name: str) -> Iterator[Query]:
    """Expressions of a file of rules."""
    for group in yaml.safe_load((RULES / name).read_text())["groups"]:
        for rule in group["rules"]:
            yield Query(rule.get("alert") or rule["record"], rule["expr"])


def recorded() -> set[str]:
    """Names that recording rules make."""
    return {query.where for query in of_rules("rules.yml")}


def everything() -> list[Query]:
    """All of them."""
    return [*of_panels(), *of_annotations(), *of_rules("alerts.yml"), *of_rules("rules.yml")]


def metrics(query: Query) -> dict[str, set[str]]:
    """Each metric of a query, with the labels by which it is filtered or grouped."""
    grouped = {
        label.strip()
        for inside in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", query.text)
        for label in inside.split(",")
        if label.strip()
    }
    bare = re.sub(r"\b(?:by|on|ignoring)\s*\([^)]*\)|\[[^\]]*\]|\boffset\s+\w+", " ", query.text)
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?", re.sub(r'"[^"]*"', '""', bare)):
        if not _WORDS.fullmatch(name):
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", matchers))
    return {name: labels | grouped for name, labels in found.items()}
