"""Every way from an archive to running code goes through `open_trusted`, held by the code of all callers.

Only an archive of the type `TrustedArchive` can be unpacked, and the type checker ensures that. These tests look for
what it cannot see: code that opens or unpacks one without the type, or lets Python import from a folder.
"""

import ast
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [
    path for path in sorted(ROOT.rglob("*.py")) if not {"tests", ".venv", ".marina"} & set(path.relative_to(ROOT).parts)
]

UNPACKERS = {"zipfile", "zipimport", "tarfile", "patoolib", "libarchive"}
ZIPS = {
    "delivery/engine_process.py": "TorchServe's jar",
    "stack/sbom.py": "metadata of an image's packages, which nothing imports",
}
ONLY_READ = {
    "bench/networks.py": "shows what it has built",
    "serialize/__main__.py": "shows",
    "delivery/publish.py": "compares with what is published",
    "delivery/models_table.py": "shows",
    "loadtest/recorded_requests.py": "sends its samples",
    "delivery/stores/nginx.py": "shows",
    "delivery/doctor/rollouts_and_store.py": "judges",
}
OF_ANY_MAKER = {"engines/python/model_store.py": "archives of other makers, whose sha256 is that of the checked file"}
IMPORTS_OUT_OF_A_FOLDER = {
    "edge/reference_handler.py": "asked by edge/verify.py, which unpacks a trusted archive",
    "handlers/adopted_handler.py": "the packages inside its own archive, whose rollout checked them",
    "engines/python/loaded_handler.py": "of engines/python/model_store.py, whose bytes are those that were checked",
    "bench/worker_process.py": "of bench/tracing.py and bench/assets.py, which unpack trusted archives",
    "bench/peers/pipeline.py": "of bench/assets.py, which unpacks a trusted archive",
}
STARTS_PYTHON_WITH_A_PATH = {
    "bench/tracing.py": "as TorchServe does, with a trusted archive",
    "bench/peers/launch.py": "this project and a folder of it",
    "delivery/archive_packages.py": "the wheels that it has just installed, to look at their versions",
    "engines/torchserve/process/java.py": "none",
    "serialize/convert.py": "this project, and the folder whose checkpoint is trusted",
    "serialize/formats/torchscript.py": "this project",
    "stack/ray_serve.py": "this project",
    "stack/torchserve.py": "none",
}


@functools.cache
def trees() -> list[tuple[str, list[ast.AST]]]:
    """Each program's name and all nodes of its code."""
    return [(path.relative_to(ROOT).as_posix(), list(ast.walk(ast.parse(path.read_text())))) for path in PROGRAMS]


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def unpacks(node: ast.AST) -> bool:
    named = isinstance(node, ast.Attribute) and node.attr in {"unpack_archive", "extractall", "extract_archive"}
    return named or bool(UNPACKERS & imported(node))


def opens(node: ast.AST) -> bool:
    return "archive.open_archive" in imported(node) or "archive.reader.open_archive" in imported(node)


def reads_containers(node: ast.AST) -> bool:
    return "archive.container" in imported(node)


def unpacks_any_maker(node: ast.AST) -> bool:
    return "archive.trust.unpack_verified" in imported(node)


def changes_the_path(node: ast.AST) -> bool:
    path = isinstance(node, ast.Attribute) and node.attr == "path" and ast.unparse(node) == "sys.path"
    code = {"runpy", "code", "imp"} & imported(node)
    return path or bool(code)


def gives_a_path(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in {"PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"}


def makes_trusted(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "TrustedArchive"


@pytest.mark.parametrize(
    ("does", "known", "rooms"),
    [
        # Checkpoints are zips, too; serialize opens no other archive than those that it has written.
        (unpacks, ZIPS, ("archive/", "serialize/")),
        (opens, ONLY_READ, ("archive/",)),
        (reads_containers, {}, ("archive/",)),
        (unpacks_any_maker, OF_ANY_MAKER, ("archive/trust.py",)),
        (makes_trusted, {}, ("archive/trust.py",)),
        (changes_the_path, IMPORTS_OUT_OF_A_FOLDER, ("handlers/lazy_torch.py",)),
        (gives_a_path, STARTS_PYTHON_WITH_A_PATH, ()),
    ],
    ids=[
        "unpacks",
        "opens",
        "reads containers",
        "unpacks archives of any maker",
        "calls something trusted",
        "imports out of a folder",
        "gives a path",
    ],
)
def test_only_known_programs_bypass_open_trusted(
    does: Callable[[ast.AST], bool], known: dict[str, str], rooms: tuple[str, ...]
) -> None:
    found = {name for name, nodes in trees() if any(map(does, nodes))}
    assert {name for name in found if not name.startswith(rooms)} == known.keys()


def test_unpacking_programs_open_archives_as_trusted() -> None:
    found = set()
    for name, nodes in trees():
        calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        unpacking = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "unpack"]
        # Numbers are unpacked by struct, whose forms are constants here, in capitals.
        files = [call for call in unpacking if not _is_of_numbers(call)]
        if files and not name.startswith("archive/"):
            found.add(name)
            names = set().union(*map(imported, nodes))
            assert names & {"archive.TrustedArchive", "archive.open_trusted"}, name
    assert found == {"edge/verify.py", "bench/tracing.py", "bench/assets.py"}


def _is_of_numbers(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    of = ast.unparse(call.func.value)
    return of == "struct" or of.isupper() or of.strip("_").isupper()
