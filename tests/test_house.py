"""The rooms keep their distance: who may import whom, and that documents name what there is."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What each room may import of the project. Nothing on the answer path knows the build path, and there is no circle.
ROOT_FILES = {"errors", "files", "logs", "commands"}
MAY_IMPORT = {
    "handlers": set(),
    "errors": {"handlers"},
    "files": {"errors"},
    "logs": {"handlers"},
    "commands": {"errors", "files", "logs", "settings"},
    "settings": {"errors", "files"},
    "prometheus": {"errors", "settings"},
    "engines": {*ROOT_FILES, "settings", "archive", "handlers"},
    "archive": {*ROOT_FILES, "settings", "handlers"},
    "serialize": {*ROOT_FILES, "settings", "archive", "handlers"},
    "deployments": {*ROOT_FILES, "settings"},
    "delivery": {*ROOT_FILES, "settings", "archive", "handlers", "engines", "prometheus", "deployments"},
    "gateway": {*ROOT_FILES, "settings", "engines", "handlers", "deployments"},
    "edge": {*ROOT_FILES, "settings", "archive", "handlers", "delivery", "prometheus", "deployments"},
    "stack": {*ROOT_FILES, "settings", "delivery", "engines"},
    "loadtest": {*ROOT_FILES, "settings", "archive", "handlers", "engines", "prometheus"},
    "bench": {
        *ROOT_FILES,
        "settings",
        "archive",
        "handlers",
        "delivery",
        "demo",
        "deployments",
        "edge",
        "engines",
        "gateway",
        "loadtest",
        "stack",
        "prometheus",
    },
    "demo": {*ROOT_FILES, "settings", "serialize", "archive", "handlers"},
}
LIGHT = (
    *sorted(ROOT_FILES),
    "deployments",
    "engines",
    "gateway",
    "delivery",
    "loadtest",
    "settings",
    "stack",
    "archive",
    "prometheus",
)
HEAVY = {"torch", "torchvision", "numpy", "onnx", "onnxruntime"}

# How TorchServe is spoken to: paths, query words, words of its answers, its key file and its counters.
ENGINE_WORDS = re.compile(
    r"/predictions\b|/ping\b|/set-default|customized=|next_page_token|min_worker\b|\bsynchronous\b|/token\?"
    r"|modelVersion|modelUrl|jobQueueStatus|customizedMetadata|minWorkers"
    r"|InvalidKeyException|ModelNotFoundException|InternalServerException|key_file\.json|\bts_(inference|queue)_"
)
EXAMINING = ROOT / "delivery" / "doctor"  # looks for TorchServe's own holes, where they are
# Who asks an engine; handlers run inside it, an archive is written for it, and benchmarks know the peers they compare.
ASKING = ("delivery", "gateway", "loadtest", "stack", "edge", "demo", "app", "upload_model", "stress")


def imports(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, at its top or anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


def files(room: str) -> list[Path]:
    return [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    assert files(room), f"{room} has no files"
    found = {(path.name, name) for path in files(room) for name in imports(path) if name in MAY_IMPORT}
    assert {(file, name) for file, name in found if name != room and name not in MAY_IMPORT[room]} == set()


@pytest.mark.parametrize("room", LIGHT)
def test_what_runs_without_a_model_names_no_heavy_package(room: str) -> None:
    assert {(path.name, name) for path in files(room) for name in imports(path) if name in HEAVY} == set()


def imported_at_start(path: Path) -> Iterator[str]:
    """Modules that importing a file imports: not those inside functions, nor those for the type checker alone."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def light_handlers() -> dict[str, Path]:
    """Modules of handlers that rooms without a model import at their start, and what those import; by name."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files("handlers")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    waiting = [name for room in LIGHT for path in files(room) for name in imported_at_start(path)]
    waiting += [name for name in modules if name.startswith("handlers.outputs")]  # found by their files
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        if name in modules and name not in found:
            found[name] = modules[name]
            waiting += imported_at_start(modules[name])
    return found


def test_handlers_that_run_without_a_model_import_the_standard_library_alone() -> None:
    found = light_handlers()
    assert {"handlers.outputs", "handlers.outputs.classify", "handlers.golden", "handlers.errors"} <= set(found)
    allowed = {*sys.stdlib_module_names, "handlers"}
    heavy = {(name, each) for name, path in found.items() for each in imported_at_start(path)}
    assert {(name, each) for name, each in heavy if each.split(".")[0] not in allowed} == set()


def words(path: Path) -> Iterator[str]:
    """Texts that a file works with; its documentation may name what it likes."""
    tree = ast.parse(path.read_text())
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            yield node.value


@pytest.mark.parametrize("room", ASKING)
def test_only_engines_know_how_an_engine_is_spoken_to(room: str) -> None:
    asking = [path for path in files(room) if not path.is_relative_to(EXAMINING)]
    assert {(path.name, word) for path in asking for word in words(path) if ENGINE_WORDS.search(word)} == set()


def test_the_words_of_an_engine_are_found_where_they_are_known() -> None:
    found = {path.name for path in files("engines") for word in words(path) if ENGINE_WORDS.search(word)}
    assert {"api.py", "auth.py", "error_responses.py", "profiles.py"} <= found


def test_the_engine_in_python_is_free_of_ray() -> None:
    found = sorted((ROOT / "engines" / "python").glob("*.py"))
    assert found
    assert {path.name for path in found if "ray" in imports(path)} == set()


def test_every_package_folder_is_known_to_the_rules_above() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms <= set(MAY_IMPORT)


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z_]+):", makefile, re.MULTILINE))
    described = set(re.findall(r"^([a-z_]+):.*## \S", makefile, re.MULTILINE))
    assert targets == described
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\\n", " ").split()) == targets


def test_documents_name_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z_]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = {name for path in documents for name in re.findall(r"`?make ([a-z_]+)", path.read_text())}
    assert named
    assert named - targets == set()


def test_documents_link_only_to_files_that_exist() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [(page, link) for page in documents for link in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", page.read_text())]
    assert len(links) > 50
    assert {(page.name, link) for page, link in links if not (page.parent / link).exists()} == set()


def test_every_direct_dependency_is_pinned_once() -> None:
    pinned: dict[str, str] = {}
    for path in sorted(ROOT.glob("requirements*.txt")):
        for line in path.read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            if not requirement or requirement.startswith("-r "):
                continue
            name, separator, _ = requirement.partition("==")
            assert separator, f"{path.name}: {requirement} is not pinned"
            assert name not in pinned, f"{name} is pinned in {pinned[name]} and in {path.name}"
            pinned[name] = path.name


def test_files_are_replaced_and_synced_by_one_module() -> None:
    own = re.compile(r"\bos\.(fsync|link|replace|rename)\(|\.hardlink_to\(|\b(mkstemp|NamedTemporaryFile)\(")
    rooms = [path for room in MAY_IMPORT if room != "handlers" for path in files(room)]
    found = {str(path.relative_to(ROOT)) for path in rooms if own.search(path.read_text())}
    assert found == {"files.py"}


def test_log_lines_are_formatted_by_one_module() -> None:
    rooms = [path for room in MAY_IMPORT for path in files(room)]
    assert [path.name for path in rooms if "(logging.Formatter)" in path.read_text()] == ["json_log.py"]


def imported_files(path: Path) -> Iterator[Path]:
    """Files of the project that a file imports when it is loaded or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            candidates = (ROOT.joinpath(*parts[:end]) for end in range(len(parts), 0, -1))
            found = (file for each in candidates for file in (each.with_suffix(".py"), each / "__init__.py"))
            yield from [file for file in found if file.is_file()][:1]


def test_no_files_import_each_other_in_a_circle() -> None:
    rooms = {path for room in MAY_IMPORT for path in files(room)}
    graph = {path: {file for file in imported_files(path) if file in rooms and file != path} for path in rooms}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files
