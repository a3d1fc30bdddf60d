"""Which share of a model's requests a version under trial gets: written by delivery, followed by each gateway process.

One small file, `traffic.json` in the stack's state folder, replaced as a whole. There is an entry only while a trial is
under way, and each ends by itself at its `until`, should nobody be left to take it out.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from settings.schema import Frozen, Settings, Version
from settings.schema.trial import HeaderName, Share


class Split(Frozen):
    """How the requests of one model that name no version are shared out."""

    stable: Version = Field(description="the default version, which answers the others")
    trial: Version = Field(description="the version that has to prove itself")
    weight: Share = Field(description="of the requests that the version under trial answers")
    sticky_header: HeaderName | None = Field(description="header whose value decides; null: each request by itself")
    copies: Share = Field(description="of the stable version's requests that the other one gets a copy of")
    max_copies: Annotated[int, Field(ge=1)] = Field(description="copies under way at once; more are dropped")
    copy_timeout_s: Annotated[float, Field(gt=0)] = Field(description="after which a copy is given up")
    tolerance: Annotated[float, Field(ge=0)] = Field(description="continuous actions this near to each other are equal")
    until: float = Field(description="end, in seconds since 1970")


class Traffic(Frozen):
    """The whole file."""

    schema_version: Literal[1] = 1
    models: dict[str, Split] = Field(default_factory=dict)


def traffic_file(settings: Settings) -> Path:
    """Where it lies."""
    return Path(settings.paths.state) / "traffic.json"


def read(path: Path) -> Traffic:
    """The file's content. Raises OSError, and ValueError for anything but a whole file of this schema."""
    return Traffic.model_validate_json(path.read_bytes(), strict=True)
