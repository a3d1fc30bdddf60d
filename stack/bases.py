"""Builds the base images of docker/Dockerfile.* from Debian's packages: `python3 -m stack.bases`.

The images are named by the environment variables DEBIAN_IMAGE and PYTHON_IMAGE, or else by the Dockerfiles' defaults.
It needs root, debootstrap and Docker, and reads the archive that apt uses on this machine.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import commands
from errors import StackError
from stack import debian, docker_plugins, programs

USAGE = f"usage: python3 -m stack.bases\n\n{__doc__}"

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = {"DEBIAN_IMAGE": "docker/Dockerfile.edge", "PYTHON_IMAGE": "docker/Dockerfile.gateway"}
# What the usual slim images have beyond the smallest set of packages.
PACKAGES = "ca-certificates,netbase,tzdata"
# As in Debian's own slim images: dpkg leaves these out now and later.
DOCUMENTATION = ("usr/share/doc", "usr/share/groff", "usr/share/info", "usr/share/lintian", "usr/share/locale",
                 "usr/share/man")  # fmt: skip
EXCLUDED = "".join(f"path-exclude /{folder}/*\n" for folder in DOCUMENTATION) + (
    "path-include /usr/share/doc/*/copyright\npath-include /usr/share/locale/locale.alias\n"
)
# Caches and logs; these differ from one build to the next.
DISCARDED = ("var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/lib/apt/lists/*",
             "var/lib/dpkg/*-old", "var/log/*.log", "var/log/apt/*", "tmp/*", "run/*", "etc/*-",
             "etc/hostname", "etc/resolv.conf")  # fmt: skip


def build(environ: dict[str, str]) -> list[str]:
    """Build both images and return their names. Raises StackError when something is missing or fails."""
    if os.getuid() != 0:
        raise StackError("debootstrap needs root: run this as root")
    if shutil.which("debootstrap") is None:
        raise StackError("debootstrap is missing: apt-get install debootstrap")
    docker_plugins.check()
    names = {name: environ.get(name) or _default(name) for name in DOCKERFILES}
    with TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _debootstrap(root, _release(_default("DEBIAN_IMAGE")), environ)
        epoch = _epoch(root)
        _slim(root, epoch)
        _import(root, names["DEBIAN_IMAGE"], epoch)
    _build_python(names, environ)
    return list(names.values())


def _default(argument: str) -> str:
    """Return the name that the Dockerfiles give to an image."""
    found = re.search(rf"^ARG {argument}=(\S+)$", (ROOT / DOCKERFILES[argument]).read_text(), re.MULTILINE)
    assert found is not None, argument
    return found[1]


def _release(image: str) -> str:
    """Return Debian's release in the tag of an image: `bookworm` of debian:bookworm-slim."""
    return image.partition(":")[2].removesuffix("-slim")


def _debootstrap(root: Path, release: str, environ: dict[str, str]) -> None:
    archive = debian.archive()
    env = {**environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    sys.stdout.write(f"debootstrap: {release} from {archive.main}\n")
    sys.stdout.flush()
    options = ("--variant=minbase", f"--include={PACKAGES}")
    programs.output("debootstrap", *options, release, str(root), archive.main, env=env)
    (root / "etc/apt/sources.list").write_text(archive.sources(release))
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(EXCLUDED)
    for command in (("update",), ("dist-upgrade", "-y", "--no-install-recommends")):
        programs.output("chroot", str(root), "apt-get", "-qq", *command, env=env)


def _epoch(root: Path) -> int:
    """Return the time of the newest index of packages; no file of the image gets a later one."""
    indexes = "".join(path.read_text() for path in root.glob("var/lib/apt/lists/*InRelease"))
    dates = re.findall(r"^Date: (.*)$", indexes, re.MULTILINE)
    return int(max(parsedate_to_datetime(date) for date in dates).timestamp())


def _slim(root: Path, epoch: int) -> None:
    """Remove documentation, caches, logs and everything that differs between two builds."""
    for folder in DOCUMENTATION:
        for path in sorted((root / folder).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.name not in ("copyright", "locale.alias"):
                path.unlink()
    for pattern in DISCARDED:
        for path in sorted(root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (root / "etc/machine-id").write_text("")
    shadow = root / "etc/shadow"  # it has the day of the last change of each password
    shadow.write_text(re.sub(r"^(\w+:[^:]*:)\d+", rf"\g<1>{epoch // 86400}", shadow.read_text(), flags=re.MULTILINE))


def _import(root: Path, name: str, epoch: int) -> None:
    options = ("--sort=name", "--numeric-owner", f"--mtime=@{epoch}", "--clamp-mtime", "--one-file-system")
    tar = ["tar", "--create", "--directory", str(root), *options, "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        done = subprocess.run(
            ["docker", "import", "--change", 'CMD ["bash"]', "-", name],
            stdin=packing.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0 or packing.returncode != 0:
        raise StackError(f"docker import failed: {' '.join(done.stderr.split()) or 'tar could not read the files'}")


def _build_python(names: dict[str, str], environ: dict[str, str]) -> None:
    ca = environ.get("CA")
    trust = ["--secret", f"id=ca,src={ca}", "--build-arg", "CA=yes"] if ca else []
    command = ["docker", "build", "--quiet", "--file", str(ROOT / "docker/bases/Dockerfile.python"), *trust]
    base = ["--build-arg", f"DEBIAN_IMAGE={names['DEBIAN_IMAGE']}", "--tag", names["PYTHON_IMAGE"]]
    programs.output(*command, *base, str(ROOT / "docker/bases"), env={**environ, "DOCKER_BUILDKIT": "1"})


def main(arguments: Sequence[str]) -> int:
    """Build the images and return the exit status."""
    if arguments:
        sys.stderr.write(USAGE)
        return 2
    sys.stdout.write(f"built {', '.join(build(dict(os.environ)))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
