"""Types that several groups of settings share."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def like(pattern: str, examples: str) -> AfterValidator:
    """Return a validator of a text's form; its error shows examples instead of the pattern."""

    def checked(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be like {examples}")
        return text

    return AfterValidator(checked)


def check_differ(what: str, names: Iterable[str]) -> None:
    """Raise ValueError with the duplicates when not all `names` differ."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{what} must differ from each other; more than once: {', '.join(twice)}")


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
# As in archives: file names contain both.
Name = Annotated[str, like(r"[a-z][a-z0-9_]{0,99}", "digits or my_model_2, in lower case")]
Version = Annotated[str, like(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}", "1.0 or 2.3.1")]
PositiveInt = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]
Size = tuple[PositiveInt, PositiveInt]


class SettingsGroup(BaseModel):
    """Base of a group of settings: immutable, with strict types and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
