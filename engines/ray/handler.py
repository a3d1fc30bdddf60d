"""A handler as TorchServe's worker loads and calls it: by the manifest's entry, with TorchServe's own context.

It is TorchServe's Python package that gives the context, and not a copy of it: what a handler imports from `ts` and
what it is handed are of one kind. Only the module that reads TorchServe's socket is left out, and with it torch, which
an ONNX archive does not need.
"""

import importlib
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ts import __version__
from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException, list_classes_from_module

from archive.trust import unpacked_manifest
from engines.ray.asked import Asked, Headers, Told, row_and_headers
from engines.ray.counts import Sample
from engines.ray.recorded import Recorder
from engines.ray.refusals import InvalidArchive, OutOfResources, PredictionFailed, Refusal
from engines.ray.table import Registration

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
OWN = frozenset({"content-length", "transfer-encoding", "connection"})  # of a response: the server writes them


class Handler:
    """A loaded handler that answers batches, one at a time."""

    def __init__(self, folder: Path, registration: Registration, metrics_file: str, gpu_id: int | None) -> None:
        """Import the entry and let it load its model; raises whatever it raises."""
        manifest = unpacked_manifest(folder)
        self._metrics = Recorder(metrics_file, registration.model)
        self._context = Context(
            registration.model,
            str(folder),
            manifest,
            registration.batch_size,
            gpu_id,
            __version__,
            limit_max_image_pixels=True,
            metrics=self._metrics,
            model_yaml_config=_model_config(folder, manifest),
        )
        # What an archive holds comes before what is installed, the kit's own `handlers` included.
        sys.path.insert(0, str(folder))
        _forget_shadowed(folder)
        self._entry, initialize = _entry_point(registration.handler or str(manifest["model"]["handler"]))
        initialize(self._context)

    def describe(self) -> Any:
        """What TorchServe shows as `customizedMetadata`; None where the handler tells nothing."""
        asked = Asked("describe", (("describe", "True"),), "", b"")
        [told], _ = self.answer([asked])
        try:
            return json.loads(told.body) if told.status == 200 else None
        except ValueError:
            return None

    def answer(self, batch: Sequence[Asked]) -> tuple[list[Told], list[Sample]]:
        """The answers to a batch, each with its own status, and what was measured on the way; never raises."""
        rows, headers = zip(*map(row_and_headers, batch), strict=True)
        self._context.request_processor = [RequestProcessor(each) for each in headers]
        self._context.request_ids = {index: asked.request_id for index, asked in enumerate(batch)}
        self._metrics.request_ids = self._context.request_ids
        try:
            began = time.perf_counter()
            returned = self._called(list(rows))
            self._metrics.add_time("PredictionTime", round((time.perf_counter() - began) * 1000, 2))
            told = [self._told(index, value) for index, value in enumerate(returned)]
        except Refusal as refusal:
            told = [Told.refused(refusal)] * len(batch)
        return told, self._metrics.taken()

    def _called(self, rows: list[dict[str, Any]]) -> list[Any]:
        try:
            returned = self._entry(rows, self._context)
        except MemoryError:
            raise OutOfResources("Out of resources") from None
        except PredictionException as error:
            raise _of_prediction(error) from None
        except Exception as error:
            # An edge: what a handler raises fails its batch, as in TorchServe, and not its worker.
            log.warning("Invoking custom service failed.", exc_info=True)
            if "CUDA" in str(error):
                raise OutOfResources("Out of resources") from None
            raise PredictionFailed("Prediction failed") from None
        if not isinstance(returned, list):
            raise PredictionFailed("Invalid model predict output")
        if len(returned) != len(rows):
            raise PredictionFailed("number of batch response mismatched")
        return returned

    def _told(self, index: int, value: Any) -> Told:
        status, _ = self._context.get_response_status(index)
        named = self._context.get_response_headers(index)
        headers: Headers = tuple((name.lower(), str(each)) for name, each in named.items() if name.lower() not in OWN)
        return Told(status if status is not None else 200, headers, _encoded(value))


def _forget_shadowed(folder: Path) -> None:
    """Let the archive import its own modules where one of ours has the same name; who has ours already, keeps it."""
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in names and file.startswith(f"{ROOT}/"):
            del sys.modules[name]


def _of_prediction(error: PredictionException) -> Refusal:
    refusal = PredictionFailed(str(error.message))
    refusal.status = int(error.error_code)
    return refusal


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        return _saved(value)
    try:
        return json.dumps(value, indent=2).encode()
    except TypeError:
        raise PredictionFailed("Unsupported model output data type.") from None


def _saved(tensor: Any) -> bytes:
    file = io.BytesIO()
    sys.modules["torch"].save(tensor, file)
    return file.getvalue()


def _model_config(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    name = manifest["model"].get("configFile")
    return yaml.safe_load((folder / name).read_text()) or {} if name else {}


def _entry_point(handler: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """What answers, and what loads the model: a function does both, told apart by having no data."""
    module_name, _, function = handler.partition(":")
    module = _module(module_name)
    entry = getattr(module, function or "handle", None)
    if entry is not None:
        return entry, lambda context: entry(None, context)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        raise InvalidArchive(f"{handler} must define one class or a function `handle`, it has {len(classes)} classes")
    service = classes[0]()
    return service.handle, service.initialize


def _module(name: str) -> ModuleType:
    plain = name.removesuffix(".py").rsplit("/", 1)[-1]
    try:
        return importlib.import_module(plain)
    except ModuleNotFoundError as error:
        if error.name != plain:
            raise
    # One of TorchServe's own: image_classifier, text_classifier, ... Some import torchvision, which beside a torch for
    # CPUs needs a word first.
    from handlers.torchvision_ops import ensure_torchvision_ops

    ensure_torchvision_ops()
    return importlib.import_module(f"ts.torch_handler.{plain}")
