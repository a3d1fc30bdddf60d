"""Lists the contents of images: `python -m stack.sbom FOLDER IMAGE...`.

For each image it writes FOLDER/NAME.packages.txt, Debian's packages with their versions, and, when there are any,
FOLDER/NAME.cdx.json, the Python packages as CycloneDX with licenses and dependencies. It prints the size of each image.
"""

import json
import re
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import commands
from errors import StackError
from files import write_atomic
from stack import docker_run, programs

USAGE = f"usage: python -m stack.sbom FOLDER IMAGE...\n\n{__doc__}"

METADATA = "find / -xdev -name '*.dist-info' -path '*/site-packages/*' -prune | tar --create --files-from -"
DEBIAN = r"dpkg-query --show --showformat '${Package} ${Version} ${Architecture} ${source:Package}\n'"


def write(image: str, folder: Path) -> str:
    """Write the files of one image and return a line about it. Raises StackError when the image is not there."""
    docker_run.check_image(image, "build_images")
    inspected = json.loads(programs.output("docker", "image", "inspect", image))[0]
    name = re.sub(r"[^\w.-]", "-", image.rpartition("/")[2])
    debian = _inside(image, DEBIAN).decode()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}.packages.txt", debian)
    python = _python(image, folder / f"{name}.cdx.json")
    size = f"{inspected['Size'] / 1e6:.0f} MB"
    return f"{image}: {size}, {python} packages of Python, {len(debian.splitlines())} of Debian"


def _python(image: str, target: Path) -> int:
    """Describe the Python packages by their metadata, which is copied to an environment of this machine."""
    archive = _inside(image, METADATA)
    with TemporaryDirectory() as name, tarfile.open(fileobj=BytesIO(archive)) as metadata:
        venv.create(name, with_pip=False)
        [site] = Path(name).glob("lib/python*/site-packages")
        for member in metadata.getmembers():
            member.name = member.name.partition("site-packages/")[2]
            metadata.extract(member, site, filter="data")
        if not any(site.glob("*.dist-info")):
            return 0
        tool = Path(sys.executable).with_name("cyclonedx-py")
        command = [str(tool), "environment", "--output-reproducible", "-o", str(target), f"{name}/bin/python"]
        programs.output(*command)
    return len(json.loads(target.read_text())["components"])


def _inside(image: str, script: str) -> bytes:
    """Run a shell script in a new container without a network and return its output."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", script]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise StackError(f"{image}: {' '.join(done.stderr.decode(errors='replace').split()) or 'its shell failed'}")
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Describe each image and return the exit status."""
    if len(arguments) < 2:
        sys.stderr.write(USAGE)
        return 2
    folder, *images = arguments
    for image in images:
        sys.stdout.write(f"{write(image, Path(folder))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
