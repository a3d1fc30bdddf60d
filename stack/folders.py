"""The folders of the local stack: all below one state folder, except sockets."""

import shutil
import stat
from dataclasses import dataclass
from os import getuid
from pathlib import Path
from typing import Self

from errors import StackError
from settings import Settings
from settings.load import temporary


@dataclass(frozen=True)
class Folders:
    """Folders of one stack; two stacks with different `paths.state` share none."""

    state: Path
    # Where TorchServe puts the archives it fetched; with store=local, the store itself. It is kept there, and where it
    # belongs to a TorchServe of others.
    model_store: Path
    keeps_model_store: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the folders that `paths.state` and the store name."""
        state = Path(settings.paths.state)
        if settings.store.name == "local":
            return cls(state, Path(settings.store.folder), keeps_model_store=True)
        return cls(state, Path(settings.engine.model_store), keeps_model_store=settings.engine.external)

    @property
    def torchserve(self) -> Path:
        """Working directory of TorchServe: its key file and its own logs."""
        return self.state / "torchserve"

    @property
    def ray(self) -> Path:
        """Keys of the manager of engine=ray; Ray's own files are temporary ones."""
        return self.state / "ray"

    @property
    def filebrowser(self) -> Path:
        """The rendered nginx.conf, its pid and its temporary files."""
        return self.state / "filebrowser"

    @property
    def edge(self) -> Path:
        """The edge's nginx.conf, its pid and its serving.json; it exists until the stack goes down."""
        return self.state / "edge"

    @property
    def logs(self) -> Path:
        """One log file for each service."""
        return self.state / "logs"

    @property
    def temporary(self) -> Path:
        """TorchServe's sockets and unpacked archives; `down` finds it again even when nothing was recorded."""
        return temporary(self.state)

    @property
    def unpacked(self) -> Path:
        """Archives that TorchServe unpacked; it chooses this folder, and delivery reads it."""
        return self.temporary / "models"

    def make_temporary(self) -> None:
        """Create the temporary folder, readable by its owner alone, or raise StackError if another user owns it."""
        self.temporary.mkdir(mode=0o700, exist_ok=True)
        found = self.temporary.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != getuid():
            raise StackError(f"{self.temporary} belongs to somebody else; set TMPDIR to a folder of your own")

    def forget_fetched(self) -> None:
        """Empty the model store of fetched archives: TorchServe would refuse to fetch one of the same name again."""
        if not self.keeps_model_store:
            shutil.rmtree(self.model_store, ignore_errors=True)

    def remove_temporary(self) -> None:
        """Remove the files that a stopped stack no longer needs: sockets, unpacked and fetched archives, keys."""
        for folder in (self.temporary, self.torchserve, self.ray, self.filebrowser, self.edge):
            shutil.rmtree(folder, ignore_errors=True)
        self.forget_fetched()
