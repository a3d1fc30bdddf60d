"""What a peer is: a folder of this package with a `peer.py` that holds PEERS. That file is all that registers it.

    bench/peers/NAME/peer.py            how it is started and asked, and what Marina should reach beside it
    bench/peers/NAME/server.py ...      what a user of it writes; its lines are counted
    bench/peers/NAME/requirements.txt   its own environment, pinned; without it, it runs in the kit's

Every server finds PORT, MODEL (Marina's unpacked archive), ASSETS, LEVEL, WORKERS and THREADS in its environment.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.assets import Assets

Level = Literal["exact", "fast"]
Subject = Literal["pictures", "states"]
Form = Literal["raw", "multipart", "base64"]

PORTS = 10
"""Ports that each server may listen on: its own, and nine behind it."""
LEVELS: tuple[Level, ...] = ("exact", "fast")
HERE = Path(__file__).parent
TORCHVISION = {"PYTHONPATH": str(HERE / "torchvision_site")}
"""Environment of the peers that import torchvision."""


@dataclass(frozen=True)
class Site:
    """One start of a peer.

    Attributes:
        folder: its own, empty.
        python: interpreter of the environment that has its packages.
        port: where it must answer; the nine ports behind it are free as well.
        workers: processes (or replicas) that share the machine, and the threads of each.

    """

    assets: "Assets"
    folder: Path
    python: str
    port: int
    level: Level
    workers: int
    threads: int

    @property
    def model(self) -> Path:
        """The unpacked archive of this decode level."""
        return self.assets.folder / self.level


@dataclass(frozen=True)
class Start:
    """A command and what its environment holds beside what every peer finds there."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def script(site: Site, name: str) -> Start:
    """The usual way: `python bench/peers/NAME/server.py`."""
    return Start((site.python, str(HERE / name / "server.py")))


@dataclass(frozen=True)
class Peer:
    """One row of the comparison.

    Attributes:
        folder: its folder in this package.
        wanted: Marina ÷ this peer at least; None where nothing is wanted.
        shapes: (workers, threads) to try; the best is taken. None stands for what the peer does by itself.
        levels: decode levels that it has.
        user: files that a user of it writes, for the lines; by default all its *.py but peer.py.
        needs: why it cannot run on this machine, or nothing.
        packages: what it needs of the kit's environment, for its size on disk; with requirements.txt, what that names.

    """

    title: str
    folder: str
    subject: Subject
    path: str
    start: Callable[[Site], Start]
    wanted: float | None = None
    form: Form = "raw"
    shapes: tuple[tuple[int, int], ...] = ((2, 1),)
    levels: tuple[Level, ...] = LEVELS
    user: tuple[str, ...] = ()
    stop: Callable[[Site], None] | None = None
    needs: Callable[[], str] = str
    packages: tuple[str, ...] = ()

    @property
    def requirements(self) -> Path:
        """The pinned packages of its own environment; the kit's own where there is no such file."""
        return HERE / self.folder / "requirements.txt"


def discover(folder: Path = HERE) -> tuple[Peer, ...]:
    """All peers, Marina first, the others by their folders' names."""
    names = sorted(path.parent.name for path in folder.glob("*/peer.py"))
    names.sort(key=lambda name: name != "marina")
    return tuple(peer for name in names for peer in importlib.import_module(f"bench.peers.{name}.peer").PEERS)
