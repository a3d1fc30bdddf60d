"""`python -m tests.docker.prove NAME BASE WORK`: the steps of docker/Dockerfile.NAME, one by one, without Docker.

BASE is a root with the release and the Python of the base image, made as root by
`debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm BASE`. Each stage runs in a copy
of it below WORK, a new folder; what the last one starts then runs as its user, on a read-only file system with the
tmpfs of compose.yaml, until its own health check is content. It needs root, and the network as pip does.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from settings.load import ROOT
from tests.docker.dockerfile import Instruction, read

# How this machine's pip reaches its index; an image builder has ways of its own.
OF_THE_HOST = re.compile(r"(PIP_\w+|\w+_proxy|\w+_PROXY|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)")
IGNORED = shutil.ignore_patterns("__pycache__", "local")


@dataclass
class Stage:
    """A stage while it is built: its root, and the values that its instructions have set."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    folder: str = "/"
    user: str = "0:0"

    def inside(self, path: str) -> Path:
        """Return a path of the stage, as seen from outside."""
        return self.root / (Path(self.folder) / path).relative_to("/")


def build(name: str, base: Path, work: Path) -> tuple[Stage, dict[str, list[str]]]:
    """Run every instruction; return the last stage, and its ENTRYPOINT, CMD and HEALTHCHECK."""
    dockerfile = read(ROOT / "docker" / f"Dockerfile.{name}")
    stages: dict[str, Stage] = {}
    work.mkdir()
    for number, instructions in enumerate(dockerfile.stages):
        words = instructions[0].words
        stage = stages[words[-1]] = Stage(work / str(number))
        origin = stages[words[0]].root if words[0] in stages else base
        subprocess.run(["cp", "-a", "--reflink=auto", origin, stage.root], check=True)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", stage.root / "etc/ssl/certs/ca-certificates.crt")
        for links in os.environ.get("PIP_FIND_LINKS", "").split():
            shutil.copytree(links, stage.root / links.lstrip("/"), dirs_exist_ok=True)
        if origin == base:
            (stage.root / "usr/local/bin/python").symlink_to("/usr/bin/python3")  # the name that the base image has
        for instruction in instructions[1:]:
            _say(f"{words[-1]}: {instruction.name} {instruction.rest}")
            _do(instruction, stage, stages)
    final = dockerfile.final
    found = {one.name: one.words for one in final if one.name in {"ENTRYPOINT", "CMD"}}
    check = next(one.rest for one in final if one.name == "HEALTHCHECK")
    found["HEALTHCHECK"] = Instruction("CMD", check.partition("CMD ")[2]).words
    return stage, found


def _do(instruction: Instruction, stage: Stage, stages: dict[str, Stage]) -> None:
    match instruction.name:
        case "ENV":
            for word in instruction.words:
                key, _, value = word.partition("=")
                stage.env[key] = value.replace("$PATH", stage.env["PATH"])
        case "WORKDIR":
            stage.folder = instruction.rest
            stage.inside(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = instruction.rest
        case "RUN":
            host = {key: value for key, value in os.environ.items() if OF_THE_HOST.fullmatch(key)}
            _chroot(stage, ["sh", "-c", instruction.rest], stage.env | host, user="0:0").check_returncode()
        case "COPY":
            *sources, target = instruction.words
            origin = stages[sources.pop(0).partition("=")[2]] if sources[0].startswith("--from") else None
            for source in sources:
                _copy(ROOT / source if origin is None else origin.inside(source), stage.inside(target), target)


def _copy(source: Path, place: Path, target: str) -> None:
    if source.is_dir():
        shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True, ignore=IGNORED)
        return
    place = place / source.name if target.endswith("/") else place
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)


def start(stage: Stage, command: Sequence[str], env: dict[str, str], tmpfs: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start what the image starts: as its user, the file system read-only but for `tmpfs`."""
    mounts = [f'mkdir -p "$1{each}" && mount -t tmpfs tmpfs "$1{each}" && chmod 1777 "$1{each}"' for each in tmpfs]
    script = " && ".join(
        [
            'mount --bind "$1" "$1"',
            'mount --rbind /proc "$1/proc"',
            'mount --bind /dev "$1/dev"',
            *mounts,
            'mount -o remount,ro,bind "$1"',
            'cd "$1" && exec chroot --userspec="$2" . /usr/bin/env -i -C "$3" "${@:4}"',
        ]
    )
    told = [f"{key}={value}" for key, value in env.items()]
    return subprocess.Popen(
        ["unshare", "-m", "bash", "-c", script, "-", stage.root, stage.user, stage.folder, *told, *command]
    )


def _chroot(stage: Stage, command: list[str], env: dict[str, str], user: str) -> "subprocess.CompletedProcess[bytes]":
    told = [f"{key}={value}" for key, value in env.items()]
    script = 'mount --rbind /proc "$1/proc" && exec chroot --userspec="$2" "$1" /usr/bin/env -i -C "$3" "${@:4}"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "-", stage.root, user, stage.folder, *told, *command], check=False
    )


def main(name: str, base: str, work: str) -> int:
    """Build, start, wait for health, stop; 0 when all of it went well."""
    stage, commands = build(name, Path(base).resolve(), Path(work).resolve())
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"][name]
    # What is a folder of the host in compose.yaml is an empty one here.
    folders = [words.split(":")[1] for words in service["volumes"] if "/data/" in words and not words.endswith(":ro")]
    tmpfs = [*folders, *(words.partition(":")[0] for words in service["tmpfs"])]
    env = {key: _own_port(value) if key.endswith(("_PORT", "_ADDRESS")) else value for key, value in stage.env.items()}
    command = [*commands["ENTRYPOINT"], *commands.get("CMD", [])]
    _say(f"start {' '.join(command)} as {stage.user}")
    running = start(stage, command, env, tmpfs)
    try:
        deadline = time.monotonic() + 60
        while not _healthy(running, stage, commands["HEALTHCHECK"], env):
            if running.poll() is not None or time.monotonic() > deadline:
                _say("it is not well")
                return 1
            time.sleep(0.5)
        _say(f"{name} is well; a write to its root: {_write(running, stage)}")
    finally:
        running.terminate()
        running.wait(30)
    _say(f"stopped with {running.returncode}")
    return 0


def _own_port(value: str) -> str:
    """Replace the port of an address by a free one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return re.sub(r"\b\d{4}$", str(probe.getsockname()[1]), value)


def _healthy(running: "subprocess.Popen[bytes]", stage: Stage, check: list[str], env: dict[str, str]) -> bool:
    return _beside(running, stage, [*(f"{key}={value}" for key, value in env.items()), *check]).returncode == 0


def _write(running: "subprocess.Popen[bytes]", stage: Stage) -> str:
    """Return the error that the container's user gets for a write to the root file system."""
    return _beside(running, stage, ["touch", f"{stage.folder}/x"]).stderr.decode().strip()


def _beside(
    running: "subprocess.Popen[bytes]", stage: Stage, command: list[str]
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command where the container runs, as its user."""
    enter = ["nsenter", "-m", "-t", str(running.pid), "chroot", f"--userspec={stage.user}", str(stage.root)]
    return subprocess.run([*enter, "/usr/bin/env", "-i", *command], capture_output=True, check=False)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
