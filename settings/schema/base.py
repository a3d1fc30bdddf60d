"""The types that the groups share: ports, names, sizes, and what every group of settings is."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def like(pattern: str, examples: str) -> AfterValidator:
    """A text of this form; whoever wrote another is told what it looks like, not the pattern."""

    def checked(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be like {examples}")
        return text

    return AfterValidator(checked)


def check_differ(what: str, names: Iterable[str]) -> None:
    """Raises ValueError, with the ones that stand twice, when not all `names` differ."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{what} must differ from each other; more than once: {', '.join(twice)}")


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
# As archives take them: both become part of file names.
Name = Annotated[str, like(r"[a-z][a-z0-9_]{0,99}", "digits or my_model_2, in lower case")]
Version = Annotated[str, like(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}", "1.0 or 2.3.1")]
PositiveInt = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]
Size = tuple[PositiveInt, PositiveInt]


class Frozen(BaseModel):
    """A group of settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
