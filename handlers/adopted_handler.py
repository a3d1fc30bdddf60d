"""The entry of an adopted archive, which another maker built: calls the archive's own handler as TorchServe does.

    TorchServe ──▶ AdoptedHandler ──▶ the handler that the first manifest names
                        └── description: the model card; headers of each response: its version and its worker

The archive holds this file as `marina_adopted.py`, and its own files byte for byte. It imports only the standard
library and TorchServe's package, because the archive may have a `handlers` of its own.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import site
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FIRST_MANIFEST = "ADOPTED.json"
CARD = "model.json"
ENVIRONMENT, PACKAGES = "environment.json", "packages"


class AdoptedHandler:
    """Answers with the archive's own handler, which sees the manifest and the configuration that it was built with."""

    def initialize(self, context: Any) -> None:
        """Load the archive's own handler; raise its error, which TorchServe logs."""
        folder = Path(context.system_properties["model_dir"])
        model = context.manifest["model"]
        self._version = str(model["modelVersion"])
        self._card = _stamped(json.loads((folder / "MAR-INF" / CARD).read_text()), model)
        _set_threads(model.get("threads"))
        first = json.loads((folder / "MAR-INF" / FIRST_MANIFEST).read_text())
        context.manifest = first
        context.model_yaml_config = _configuration(folder, first["model"])
        use_packages(folder / "MAR-INF")
        declare_torchvision_ops()
        self._any_case = _any_case_headers()
        self._answer, load = _entry(str(first["model"]["handler"]))
        load(context)

    def handle(self, data: Any, context: Any) -> Any:
        """Return the responses of the archive's own handler unchanged; the model card when TorchServe asks for it."""
        if context.get_request_header(0, "describe") == "True":
            return [self._card]
        for processor in context.request_processor:
            # TorchServe keeps names as the client wrote them; the gateway forwards them in lower case.
            processor._request_header = self._any_case(processor.get_request_properties())
        responses = self._answer(data, context)
        for index in range(len(data)):
            context.set_response_header(index, "x-model-version", self._version)
            # The drain of this version must see that each of its workers has finished its last batch.
            context.set_response_header(index, "x-worker-pid", str(os.getpid()))
        return responses


def _stamped(card: dict[str, Any], model: dict[str, Any]) -> bytes:
    """Return the card with the registration settings that an upload stamped into the manifest, as JSON."""
    stamped = {key: model[key] for key in ("threads",) if key in model}
    card["request_params"] = {**card.get("request_params", {}), **stamped}
    return json.dumps(card, separators=(",", ":")).encode("ascii")


def _any_case_headers() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the class of headers that are found in whatever case a handler writes their names.

    It is local, because TorchServe takes the one class of this module for the handler.
    """

    class AnyCase(dict[str, Any]):
        def _found(self, name: str) -> str:
            lower = name.lower()
            return name if super().__contains__(name) else next((each for each in self if each.lower() == lower), name)

        def __getitem__(self, name: str) -> Any:
            return super().__getitem__(self._found(name))

        def __contains__(self, name: object) -> bool:
            return isinstance(name, str) and super().__contains__(self._found(name))

        def get(self, name: str, default: Any = None) -> Any:
            return super().get(self._found(name), default)

    return AnyCase


def _set_threads(threads: Any) -> None:
    if type(threads) is not int:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _configuration(folder: Path, model: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the archive's own model-config.yaml, as TorchServe passes it to a handler."""
    name = model.get("configFile")
    if not name:
        return {}
    from ts.utils.util import get_yaml_config

    return dict(get_yaml_config(str(folder / name)) or {})


def use_packages(documents: Path) -> None:
    """Let the archive import the packages that it brings, before those of the engine.

    Raises RuntimeError when they are for another machine, or when this process has loaded another version already.
    """
    file = documents / ENVIRONMENT
    if not file.is_file():
        return
    described = json.loads(file.read_text())
    here = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "platform": sysconfig.get_platform()}
    for key, value in here.items():
        if described[key] not in (None, value):
            raise RuntimeError(f"the archive's packages are for {key} {described[key]}, this is {value}: adopt it here")
    packages = documents / PACKAGES
    _check_not_loaded(packages)
    before = list(sys.path)
    site.addsitedir(str(packages))
    added = [each for each in sys.path if each not in before]
    # Behind the archive's own modules, which are first.
    at = before.index(str(documents.parent)) + 1 if str(documents.parent) in before else 0
    sys.path[:] = [*before[:at], *added, *before[at:]]
    importlib.invalidate_caches()


def _check_not_loaded(packages: Path) -> None:
    """Raise RuntimeError for a package that this process has loaded in another version."""
    for distribution in importlib.metadata.distributions(path=[str(packages)]):
        name, version = distribution.metadata["Name"], distribution.version
        modules = {each.parts[0].removesuffix(".py") for each in distribution.files or ()}
        if not modules & set(sys.modules):
            continue
        try:
            loaded = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if loaded != version:
            raise RuntimeError(f"the archive brings {name} {version}, and this engine's workers use {name} {loaded}")


def declare_torchvision_ops() -> None:
    """Give torchvision its missing operators as soon as something imports it beside a torch for CPUs."""

    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torchvision":
            return None
        sys.meta_path.remove(finder)
        operators = importlib.import_module("marina_torchvision_ops")
        if "nms" not in operators.ensure_torchvision_ops():
            return None
        spec: Any = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_with_nms(module: ModuleType) -> None:
            load(module)
            operators.implement_nms(module)

        spec.loader.exec_module = load_with_nms
        return spec

    finder: Any = SimpleNamespace(find_spec=find_spec)
    sys.meta_path.insert(0, finder)


def _entry(handler: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Return the function that answers and the one that loads the model.

    A handler that is a function does both; without data, it loads the model.
    """
    name, _, function = handler.partition(":")
    module = _module(name.removesuffix(".py").rsplit("/", 1)[-1])
    entry = getattr(module, function or "handle", None)
    if entry is not None:
        return entry, lambda context: entry(None, context)
    classes = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
    if len(classes) != 1:
        raise ValueError(f"{handler} must define one class or a function `handle`, it has {len(classes)} classes")
    service: Any = classes[0]()
    return service.handle, service.initialize


def _module(name: str) -> ModuleType:
    """Import the archive's module, or TorchServe's own handler of this name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    return importlib.import_module(f"ts.torch_handler.{name}")
