"""Debian's package archive through this machine's own apt: its mirror, and packages of another release.

Nothing here downloads by itself: apt checks the signature of an index and the hash of each package.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from errors import StackError
from stack import programs

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class DebianArchive:
    """The addresses of Debian's archive and, where apt knows one, of its security updates."""

    main: str
    security: str | None

    def sources(self, release: str) -> str:
        """Return the lines of a sources.list for one release with its updates."""
        lines = [f"deb {self.main} {release} main", f"deb {self.main} {release}-updates main"]
        lines += [f"deb {self.security} {release}-security main"] if self.security else []
        return "".join(f"{line}\n" for line in lines)


def archive() -> DebianArchive:
    """Return the archive that apt uses here, or that the environment variable MIRROR names. Raises StackError."""
    named = os.environ.get("MIRROR")
    if named:
        return DebianArchive(named, None)
    columns = "$(LABEL)\t$(REPO_URI)"
    listed = programs.output("apt-get", "indextargets", "--format", columns, "Created-By: Packages")
    found = dict(line.split("\t") for line in reversed(listed.splitlines()))
    if "Debian" not in found:
        raise StackError("apt knows no archive of Debian here: run `apt-get update`, or name one with MIRROR=")
    return DebianArchive(found["Debian"], found.get("Debian-Security"))


def fetch(packages: Sequence[str], release: str, folder: Path) -> None:
    """Download packages of a release of Debian and unpack them into `folder`; nothing is installed."""
    if not KEYRING.is_file():
        raise StackError("Debian's keys are missing: apt-get install debian-archive-keyring")
    with TemporaryDirectory() as name:
        work = Path(name)
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "cache").mkdir()
        (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive().main} {release} main\n")
        options = {
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",  # nobody else may enter the folder
            "Dir::Cache": f"{work}/cache",
            "Dir::Etc::sourcelist": f"{work}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": f"{work}/lists",
        }
        apt = ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
        programs.output(*apt, "update")
        programs.output(*apt, "download", *packages, folder=work)
        for file in sorted(work.glob("*.deb")):
            programs.output("dpkg-deb", "--extract", str(file), str(folder))
