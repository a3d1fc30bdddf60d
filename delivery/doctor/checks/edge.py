"""The policy edge, where one was made."""

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.strangers import any_size
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Seen, closed, is_open, not_checked
from delivery.doctor.sockets import reach


def _answers(deployment: Deployment) -> Seen:
    if not (deployment.state / "edge" / "nginx.conf").is_file():
        return not_checked("none was made here")
    url = deployment.settings.edge.url
    return closed(url) if ask.answers(f"{url}/healthz") else is_open(f"nothing answers at {url}")


def _strangers(deployment: Deployment) -> Seen:
    edge = deployment.settings.edge
    wide = is_open("it asks nobody for a key")
    return reach(deployment.sockets, edge.host, edge.port, wide=wide)


def _size(deployment: Deployment) -> Seen:
    return any_size(f"{deployment.settings.edge.url}/predict")


CHECKS = (
    Check("it answers", "make edge MODEL=name", _answers, comes_first=True),
    Check("strangers on other machines", "edge.host=127.0.0.1, and a proxy with keys in front", _strangers),
    Check("requests of any size", "edge.max_body_bytes", _size),
)
