"""The packages of an adopted archive: resolved once, locked with their hashes, and packed into the archive.

requirements.txt ─▶ pip resolves, beside the engine's packages ─▶ lock ─▶ pip installs by hash ─▶ MAR-INF/packages/

An engine host then needs no network, no pip and no room but the archive's own: the packages are files of the archive,
covered by its checksums and compared by each rollout. The engine's own packages, torch among them, stay visible.
Installed packages are kept in the state folder under the hash of their lock; only wheels are installed, because they
run no code at installation.
"""

import base64
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from archive.adopted import ENVIRONMENT, LOCK, PACKAGES
from archive.requirements_file import RequestedPackages, canonical
from errors import ArchiveError, ConfigError
from files import explained, staging_folder
from settings import Settings
from settings.load import ROOT

WORKER = "requirements-worker.txt"
ENGINES = {"torchserve": "requirements-torchserve.txt", "ray": "requirements-ray.txt"}
"""The packages of a worker under every engine, and those that a worker of each engine may have loaded already."""
PIP_S = 1800.0  # large packages over a slow line
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color")
WHEELS = ("--only-binary", ":all:")
BASE, TREE = "base", "packages"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def check_against_engine(path: Path, asked: RequestedPackages, engine: str) -> None:
    """Raise ArchiveError for a package that an engine's worker has in another version."""
    fixed = engine_packages(ENGINES[engine])
    for requirement in asked.requirements:
        found = fixed.get(canonical(requirement.name))
        applies = requirement.marker is None or requirement.marker.evaluate()
        if found is not None and applies and not requirement.specifier.contains(found, prereleases=True):
            raise ArchiveError(
                f"{path}: asks for {requirement}, and the engine's workers share {requirement.name} {found}"
            )


@functools.cache
def engine_packages(file: str) -> Mapping[str, str]:
    """Return the version of each package of a requirements file of this project, with all that these need."""
    found: dict[str, str] = {}
    pending = list(_required(ROOT / file))
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement = pending.pop()
        name = canonical(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform, or optional
        found[name] = distribution.version
        pending += _needs(distribution, requirement.extras)
    return found


def _required(file: Path) -> Iterator[Requirement]:
    for line in file.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from _required(file.parent / text.removeprefix("-r ").strip())
        elif text:
            yield Requirement(text)


def _needs(distribution: importlib.metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield needed


def install_packages(path: Path, asked: RequestedPackages, settings: Settings) -> dict[str, bytes]:
    """Return the files of the packages that the archive `path` asks for, by their path in the adopted archive.

    The same lock is installed once. Raises ArchiveError with pip's reason, and ConfigError without pip.
    """
    folder = Path(settings.paths.state) / "packages"
    with explained(folder), staging_folder(folder, "resolving") as staging:
        lock = _resolved(path, asked, settings.engine.name, staging)
        if not lock:
            return {}
        kept = folder / hashlib.sha256("\n".join([PYTHON, sysconfig.get_platform(), *lock]).encode()).hexdigest()
        tree = kept if kept.is_dir() else _installed(path, lock, staging)
        files, versions = tree_files(tree)
        if versions != (locked := _locked_versions(lock)):  # a power cut, or somebody changed a file
            shutil.rmtree(kept, ignore_errors=True)
            files, versions = tree_files(tree := _installed(path, lock, staging))
            if versions != locked:
                broken = ", ".join(name for name, found in locked.items() if versions.get(name) != found)
                words = "are not those that the wheel lists, or another package has replaced them"
                raise ArchiveError(f"{path}: its packages cannot be installed: files of {broken} {words}")
        if tree is not kept:
            tree.rename(kept)
    return _archive_files(lock, files)


def _resolved(path: Path, asked: RequestedPackages, engine: str, staging: Path) -> tuple[str, ...]:
    """Return a line for each package that the engine lacks, with its hash."""
    wheels = staging / "wheels"
    wheels.mkdir()
    for name, content in asked.wheels.items():
        (wheels / name).write_bytes(content)
    _lay_out_base(staging / BASE)
    constraints = staging / "constraints.txt"
    constraints.write_text("".join(f"{name}=={found}\n" for name, found in engine_packages(ENGINES[engine]).items()))
    wanted = staging / "requirements.txt"
    wanted.write_text("\n".join([*asked.lines, *(str(wheels / name) for name in asked.wheels)]) + "\n")
    report = staging / "report.json"
    given = ("--find-links", str(wheels), "-c", str(constraints), "-r", str(wanted))
    _pip(path, staging, ("install", "--dry-run", "--report", str(report), *WHEELS, *given))
    return tuple(sorted(_lock_line(path, item) for item in json.loads(report.read_text())["install"]))


def _lock_line(path: Path, item: Mapping[str, Any]) -> str:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    sha256 = item["download_info"]["archive_info"].get("hashes", {}).get("sha256")
    if sha256 is None:
        raise ArchiveError(f"{path}: the index has no sha256 of {name} {version}; use an index that has one")
    return f"{canonical(name)}=={version} --hash=sha256:{sha256}"


def _lay_out_base(base: Path) -> None:
    """Make a folder in which pip sees the packages of every worker and no others of this machine."""
    base.mkdir()
    pip = importlib.util.find_spec("pip")
    if pip is None or pip.origin is None:
        raise ConfigError(f"{sys.executable} has no pip, which installs an archive's packages: -m ensurepip adds it")
    (base / "pip").symlink_to(Path(pip.origin).parent)
    for name in engine_packages(WORKER):
        described = _info_folder(importlib.metadata.distribution(name))
        (base / described.name).symlink_to(described)


def _info_folder(distribution: importlib.metadata.Distribution) -> Path:
    listed = (each for each in distribution.files or () if each.parent.name.endswith((".dist-info", ".egg-info")))
    return Path(str(next(listed).locate())).parent


def _installed(path: Path, lock: Sequence[str], staging: Path) -> Path:
    """Install the locked packages into a new folder, each by its hash."""
    # Its name is new each time, because the pip of a killed adoption may still run.
    tree = Path(tempfile.mkdtemp(prefix=TREE, dir=staging))
    file = staging / "requirements.lock"
    file.write_text("\n".join(lock) + "\n")
    words = ("--no-deps", "--require-hashes", "--no-compile", "--find-links", str(staging / "wheels"))
    _pip(path, staging, ("install", *words, *WHEELS, "--target", str(tree), "-r", str(file)))
    return tree


def _pip(path: Path, staging: Path, words: Sequence[str]) -> None:
    """Run pip without the packages of this machine; its own configuration names the index."""
    env = {**os.environ, "PYTHONPATH": str(staging / BASE), "TMPDIR": str(staging)}
    command = [sys.executable, "-S", *PIP, *words]
    try:
        done = subprocess.run(
            command,
            cwd=staging,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=PIP_S,
        )
    except subprocess.TimeoutExpired:
        raise ArchiveError(f"{path}: pip did not get its packages within {PIP_S:g} s") from None
    if done.returncode != 0:
        raise ArchiveError(f"{path}: its packages cannot be installed: {_reason(done.stdout, staging)}")


def _reason(output: str, staging: Path) -> str:
    """Return pip's error in one line, without the paths of the staging folder."""
    lines = [line.strip() for line in output.replace(f"{staging}/", "").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    conflict = [line for line in lines if " depends on " in line or line.startswith("The user requested")]
    text = "; ".join(dict.fromkeys(conflict or errors or lines[-1:])) or "pip gave no reason"
    return "".join(each if each.isprintable() else "?" for each in text)[:800]


def tree_files(tree: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the installed files by path, and the version of each package whose files are those that it lists."""
    files: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=[str(tree)]):
        own = _listed_files(tree, distribution)
        if own is not None:
            files |= own
            versions[canonical(distribution.metadata["Name"])] = distribution.version
    return dict(sorted(files.items())), versions


def _listed_files(tree: Path, distribution: importlib.metadata.Distribution) -> dict[str, bytes] | None:
    """Return a package's files; None when one of them is missing or has another hash. Programs are left out."""
    found: dict[str, bytes] = {}
    for listed in distribution.files or ():
        name = listed.as_posix()
        if ".." in listed.parts or listed.parts[0] == "bin":
            continue
        target = tree / name
        content = target.read_bytes() if target.is_file() else None
        if content is None or (listed.hash is not None and _encoded(content, listed.hash.mode) != listed.hash.value):
            return None
        found[name] = content
    return found


def _encoded(content: bytes, algorithm: str) -> str:
    return base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).decode("ascii").rstrip("=")


def _locked_versions(lock: Sequence[str]) -> dict[str, str]:
    return dict(line.partition(" ")[0].split("==") for line in lock)


def _archive_files(lock: Sequence[str], files: Mapping[str, bytes]) -> dict[str, bytes]:
    described = {
        "python": PYTHON,
        "platform": sysconfig.get_platform() if any(map(_is_for_one_platform, files.items())) else None,
    }
    return {
        **{f"{PACKAGES}/{name}": content for name, content in files.items()},
        LOCK: ("\n".join(lock) + "\n").encode(),
        ENVIRONMENT: (json.dumps(described, indent=2, sort_keys=True) + "\n").encode(),
    }


def _is_for_one_platform(file: tuple[str, bytes]) -> bool:
    """Return True for the description of a wheel with compiled code."""
    name, content = file
    return name.endswith(".dist-info/WHEEL") and b"Root-Is-Purelib: false" in content
