"""Parses the instructions of a Dockerfile and their arguments, stage by stage."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals and the rest of its logical line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form or the shell form, flags such as --from included."""
        if self.rest.startswith("["):
            return [str(word) for word in json.loads(self.rest)]
        return shlex.split(self.rest)


@dataclass(frozen=True)
class Dockerfile:
    """The instructions before the first stage, and the stages, each from its FROM on."""

    path: Path
    head: tuple[Instruction, ...]
    stages: tuple[tuple[Instruction, ...], ...]

    @property
    def final(self) -> tuple[Instruction, ...]:
        """The stage that becomes the image."""
        return self.stages[-1]

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions of one name in the final stage."""
        return [instruction for instruction in self.final if instruction.name == name]

    @property
    def env(self) -> dict[str, str]:
        """The environment that the final stage sets."""
        words = (word.partition("=") for one in self.all("ENV") for word in one.words)
        return {name: value for name, _, value in words}

    @property
    def copied(self) -> list[str]:
        """The sources that any stage copies from the project."""
        copies = [one.words for stage in self.stages for one in stage if one.name == "COPY"]
        return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def lay_out(image: Dockerfile, root: Path, folder: Path) -> None:
    """Copy what the image's working directory gets from the project at `root`, and nothing else, into `folder`."""
    for copy in image.all("COPY"):
        *sources, target = copy.words
        if sources[0].startswith("--from") or target.startswith("/"):
            continue
        for source in (root / each for each in sources):
            if source.is_dir():
                shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "local"))
            else:
                place = folder / target / source.name if target.endswith("/") else folder / target
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)


def read(path: Path, target: str | None = None) -> Dockerfile:
    """Parse `path`, up to the stage `target`. Comments go, continued lines are joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    logical = re.sub(r"\\\n\s*", " ", text)
    found = [Instruction(*line.split(None, 1)) for line in logical.splitlines() if line.strip()]
    starts = [number for number, one in enumerate(found) if one.name == "FROM"]
    ends = [*starts[1:], len(found)]
    stages = tuple(tuple(found[start:end]) for start, end in zip(starts, ends, strict=True))
    names = [stage[0].words[-1] for stage in stages]
    wanted = len(stages) if target is None else names.index(target) + 1
    return Dockerfile(path, tuple(found[: starts[0]]), stages[:wanted])
