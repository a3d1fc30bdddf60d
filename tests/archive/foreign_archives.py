"""Archives of other makers, made by torch-model-archiver itself."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

ARCHIVER = Path(sys.executable).with_name("torch-model-archiver")

PARROT = """
import json
import random
import time

COLOUR = "green"


def handle(data, context):
    if data is None:
        return None
    return [answer(row, index, context) for index, row in enumerate(data)]


def answer(row, index, context):
    body = row.get("body")
    if not isinstance(body, dict):
        if body is None:
            return {name: value if isinstance(value, str) else bytes(value).decode() for name, value in row.items()}
        return bytes(body if not isinstance(body, str) else body.encode()).upper()
    if "fail" in body:
        raise ValueError("the parrot fails")
    if "draw" in body:
        return [random.random()]
    if "status" in body:
        context.set_response_status(code=body["status"], phrase="Own", idx=index)
        context.set_response_header(index, "X-Mood", "stout")
        context.set_response_content_type(index, "text/plain; charset=utf-8")
        return "short and stout"
    if "header" in body:
        return [context.get_request_header(index, name) for name in (body["header"], body["header"].lower())]
    time.sleep(body.get("sleep", 0))
    return body.get("say", {"colour": COLOUR})
"""
"""A function without a model file: it answers bytes, lists, forms, own statuses and headers, as it is asked to."""


def make_archive(
    folder: Path, name: str, handler: str | Path, *words: str | Path, archive_format: str = "default"
) -> Path:
    """Return NAME.mar, NAME.tar.gz or the folder NAME; `words` are further options of the archiver."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [ARCHIVER, "--model-name", name, "--version", "1.0", "--handler", handler, "--export-path", folder]
    done = subprocess.run(
        [*map(str, command), "--archive-format", archive_format, "--force", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    suffix = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}[archive_format]
    return folder / f"{name}{suffix}"


def handler_file(folder: Path, text: str = PARROT, name: str = "parrot_handler.py") -> Path:
    """Write a handler's source."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def parrot(folder: Path, text: str = PARROT, **options: str) -> Path:
    """Return an archive whose handler is a function."""
    return make_archive(folder, "parrot", handler_file(folder, text), **options)


def workflow(path: Path, *models: str) -> Path:
    """Write a workflow of these archives, one after the other, as torch-workflow-archiver does; none is in it."""
    manifest = {"workflowName": path.stem, "specFile": "flow.yaml", "handler": "flow.py"}
    nodes = [f"node{number}" for number in range(len(models))]
    registered = {node: {"url": model} for node, model in zip(nodes, models, strict=True)}
    limits = {"min-workers": 1, "max-workers": 1, "batch-size": 1, "max-batch-delay": 10}
    chain = {node: nodes[number + 1 : number + 2] for number, node in enumerate(nodes)}
    written = {"createdOn": "01/01/2024 00:00:00", "archiverVersion": "0.2.15", "workflow": manifest}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps(written))
        archive.writestr("flow.yaml", yaml.safe_dump({"models": {**limits, **registered}, "dag": chain}))
        archive.writestr("flow.py", "def pre(data, context):\n    return data\n")
    return path


def samples(folder: Path, **files: bytes) -> Path:
    """Return a folder of samples; `name__suffix` is the file `name.suffix`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder
