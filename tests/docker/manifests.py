"""docker/kubernetes as a cluster gets it: built by kustomize, in a copy with its own secrets."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from settings.load import ROOT
from stack.compose import prepare
from stack.kubernetes import ABOVE, PROGRAM, render

FOLDER = ROOT / "docker" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())

Document = dict[str, Any]


def program() -> str | None:
    """Return the command of a kustomize that builds these manifests; None where there is none, or only older ones.

    The variable KUSTOMIZE comes first, as in the Makefile.
    """
    candidates = (os.environ.get("KUSTOMIZE", PROGRAM), PROGRAM, "kustomize build")
    return next((each for each in candidates if _knows(shlex.split(each))), None)


def _knows(command: Sequence[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and ABOVE in done.stdout


@cache
def built(overlay: str) -> tuple[Document, ...]:
    """Return all objects of an overlay."""
    command = program()
    assert command is not None
    with TemporaryDirectory() as name:
        return tuple(yaml.safe_load_all(render(copied(Path(name)), overlay, command)))


def copied(root: Path) -> Path:
    """Copy what the manifests are made of to an empty folder, make secrets of its own there, and return it."""
    out = shutil.ignore_patterns("local", "secrets", "data", ".env")
    for folder in ("config", "docker"):
        shutil.copytree(ROOT / folder, root / folder, ignore=out)
    prepare(root, os.getuid(), os.getgid())
    return root


@cache
def written() -> tuple[Document, ...]:
    """Return all whole objects of the files, before kustomize renames and joins them."""
    places = [*sorted((FOLDER / "base").glob("*.yaml")), *sorted((FOLDER / "components").glob("*/network.yaml"))]
    places += [FOLDER / "components" / "upload" / "job.yaml"]
    files = [path for path in places if path.name != "kustomization.yaml"]
    return tuple(document for path in files for document in yaml.safe_load_all(path.read_text()))


def one(kind: str, name: str, documents: Sequence[Document] | None = None) -> Document:
    """Return the one object of this kind and name."""
    found = [each for each in documents or written() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, (kind, name)
    return found[0]


def pods(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pod template of every workload."""
    for each in documents:
        spec = each.get("spec", {})
        if template := spec.get("template"):
            yield each["metadata"]["name"], template
        if each["kind"] in {"RayCluster", "RayService"}:
            cluster = ray_cluster(each)
            yield "ray-head", cluster["headGroupSpec"]["template"]
            yield from ((f"ray-{group['groupName']}", group["template"]) for group in cluster["workerGroupSpecs"])


def ray_cluster(document: Document) -> Document:
    """Return the cluster of a RayCluster or of a RayService."""
    spec: Document = document["spec"]
    return spec["rayClusterConfig"] if document["kind"] == "RayService" else spec


def container(name: str, documents: Sequence[Document] | None = None) -> Document:
    """Return the container of a workload."""
    template = dict(pods(documents or written()))[name]
    [found] = template["spec"]["containers"]
    return dict(found)


def environment(found: Document) -> dict[str, str]:
    """Return the literal values in a container's environment."""
    return {each["name"]: each["value"] for each in found.get("env", ()) if "value" in each}


def generated(section: str, name: str, kustomization: str = "base") -> list[str]:
    """Return the files or literals of a generated ConfigMap or Secret."""
    content = yaml.safe_load((FOLDER / kustomization / "kustomization.yaml").read_text())
    [found] = [each for each in content[section] if each["name"] == name]
    return list(found.get("files", ())) + list(found.get("literals", ()))
