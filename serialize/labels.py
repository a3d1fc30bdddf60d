"""The class names of a picture model."""

from errors import BuildError
from handlers.torchvision_ops import ensure_torchvision_ops

TORCHVISION = "torchvision/"


def resolve(labels: list[str] | str) -> list[str]:
    """The names themselves, or those that torchvision keeps with published weights: `torchvision/ENUM.ENTRY`.

    Nothing is downloaded. Raises BuildError for an unknown source.
    """
    if isinstance(labels, list):
        return labels
    if not labels.startswith(TORCHVISION):
        raise BuildError(f"served_model.labels: {labels!r} is neither a list nor torchvision/WEIGHTS.ENTRY")
    ensure_torchvision_ops()
    from torchvision.models import get_weight

    try:
        categories = get_weight(labels.removeprefix(TORCHVISION)).meta["categories"]
    except (ValueError, KeyError) as error:
        raise BuildError(f"served_model.labels: {labels}: {error}") from None
    return unambiguous([str(category) for category in categories])


def unambiguous(names: list[str]) -> list[str]:
    """Names that stand twice (ImageNet has two cranes) get their number behind them: answers are keyed by name."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names)]
