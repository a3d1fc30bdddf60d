"""Loads and calls a handler as TorchServe's worker does: by the manifest's entry, with TorchServe's own context.

The context comes from TorchServe's own Python package, so a handler gets the classes that it imports from `ts`. Only
the module that reads TorchServe's socket is left out, and with it torch, which an ONNX archive does not need.
"""

import importlib
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import yaml
from ts import __version__
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.utils.util import PredictionException, list_classes_from_module

from archive.trust import unpacked_manifest
from engines.python.messages import (
    ErrorResponse,
    Headers,
    InferenceRequest,
    InferenceResponse,
    InvalidModelException,
    OutOfResources,
    PredictionFailed,
    Sample,
)
from engines.python.registry import Registration

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})  # the server writes these


class LoadedHandler:
    """A loaded handler that answers batches, one at a time."""

    def __init__(self, folder: Path, registration: Registration, metrics_file: str, gpu_id: int | None) -> None:
        """Import the entry and let it load its model; raise its error."""
        manifest = unpacked_manifest(folder)
        self._metrics = MetricRecorder(metrics_file, registration.model)
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
        # The archive's modules come before the installed ones, even before the project's own `handlers`.
        sys.path.insert(0, str(folder))
        _forget_shadowed(folder)
        self._entry, initialize = _entry_point(registration.handler or str(manifest["model"]["handler"]))
        initialize(self._context)

    def describe(self) -> Any:
        """Return what TorchServe shows as `customizedMetadata`; None where the handler provides none."""
        request = InferenceRequest("describe", (("describe", "True"),), "", b"")
        [response], _ = self.answer([request])
        try:
            return json.loads(response.body) if response.status == 200 else None
        except ValueError:
            return None

    def answer(self, batch: Sequence[InferenceRequest]) -> tuple[list[InferenceResponse], list[Sample]]:
        """Return the responses to a batch, each with its own status, and the handler's measurements; never raise."""
        rows, headers = zip(*map(handler_input, batch), strict=True)
        self._context.request_processor = [RequestProcessor(each) for each in headers]
        self._context.request_ids = {index: request.request_id for index, request in enumerate(batch)}
        self._metrics.request_ids = self._context.request_ids
        try:
            began = time.perf_counter()
            returned = self._call(list(rows))
            self._metrics.add_time("PredictionTime", round((time.perf_counter() - began) * 1000, 2))
            responses = [self._response(index, value) for index, value in enumerate(returned)]
        except ErrorResponse as error:
            responses = [InferenceResponse.of_error(error)] * len(batch)
        return responses, self._metrics.take()

    def _call(self, rows: list[dict[str, Any]]) -> list[Any]:
        try:
            returned = self._entry(rows, self._context)
        except MemoryError:
            raise OutOfResources("Out of resources") from None
        except PredictionException as error:
            raise _of_prediction(error) from None
        except Exception as error:
            # An exception of a handler fails its batch and not its worker, as in TorchServe.
            log.warning("Invoking custom service failed.", exc_info=True)
            if "CUDA" in str(error):
                raise OutOfResources("Out of resources") from None
            raise PredictionFailed("Prediction failed") from None
        if not isinstance(returned, list):
            raise PredictionFailed("Invalid model predict output")
        if len(returned) != len(rows):
            raise PredictionFailed("number of batch response mismatched")
        return returned

    def _response(self, index: int, value: Any) -> InferenceResponse:
        status, _ = self._context.get_response_status(index)
        own = self._context.get_response_headers(index).items()
        headers: Headers = tuple((name.lower(), str(each)) for name, each in own if name.lower() not in OWN_HEADERS)
        return InferenceResponse(status if status is not None else 200, headers, _encoded(value))


class MetricRecorder(MetricsCacheYamlImpl):  # type: ignore[misc]  # ts is untyped
    """The cache behind `context.metrics`: it keeps values that TorchServe's own cache writes to a log.

    TorchServe's frontend reads a worker's metrics from its log, a line a value. Here they return with the responses of
    the batch. As in TorchServe, a metric that the metrics file does not declare is dropped.
    """

    def __init__(self, config_file: str, model: str) -> None:
        super().__init__(config_file_path=config_file)
        self._declared: frozenset[str] | None = None
        self._samples: list[Sample] = []
        self.model_name = model
        self.initialize_cache()
        self._declared = frozenset(name for metrics in self.cache.values() for name in metrics)

    def add_metric_to_cache(self, *given: Any, **named: Any) -> Any:
        """Return a metric whose values this cache keeps."""
        metric = super().add_metric_to_cache(*given, **named)
        kind, names = metric.metric_type.value, list(metric.dimension_names)
        known = self._declared is None or metric.metric_name in self._declared

        def record(value: float, dimension_values: Any = (), request_id: str = "") -> None:
            if known and len(dimension_values) == len(names):
                labels = tuple(zip(names, map(str, dimension_values), strict=True))
                self._samples.append((metric.metric_name, kind, labels, float(value)))

        metric.add_or_update = record
        return metric

    def take(self) -> list[Sample]:
        """Return the values since the last call."""
        samples, self._samples = self._samples, []
        return samples


class HeaderMap(dict[str, Any]):
    """Headers by name, in whatever case a handler writes the name."""

    def __getitem__(self, name: str) -> Any:
        """Return the value of a header."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Return whether the header exists."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a header, `default` where there is none."""
        return super().get(name.lower(), default)


def handler_input(request: InferenceRequest) -> tuple[dict[str, Any], HeaderMap]:
    """Return a request as a handler gets it: its row of `data`, and its headers with each parameter's type."""
    row: dict[str, Any] = {}
    headers = HeaderMap()
    for name, media_type, value in _parameters(request):
        row[name] = value
        headers[name] = {"content-type": media_type}
    headers.update(request.headers)
    return row, headers


def _parameters(request: InferenceRequest) -> Iterator[tuple[str, str, Any]]:
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        yield name, "", value.encode()
    declared = next((value for name, value in request.headers if name == "content-type"), "")
    media_type = declared.partition(";")[0].strip()
    kind = media_type.lower()
    if kind == "multipart/form-data":
        yield from _form_fields(request.body, declared)
    elif kind == "application/x-www-form-urlencoded":
        for name, value in parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True):
            yield name, "", value.encode()
    else:
        yield "body", media_type, _decoded(media_type, request.body)


def _decoded(media_type: str, body: bytes) -> Any:
    """Parse JSON and decode text as TorchServe does, which forwards unreadable bodies as bytes."""
    try:
        if media_type == "application/json":
            return json.loads(body.decode())
        return body.decode() if media_type.startswith("text") else bytearray(body)
    except (ValueError, RecursionError):
        return bytearray(body)


def _form_fields(body: bytes, declared: str) -> Iterator[tuple[str, str, Any]]:
    # Imported here: most workers never get a form.
    from python_multipart.multipart import parse_form

    found: list[tuple[str, str, Any]] = []

    def on_field(field: Any) -> None:
        found.append((_text(field.field_name), "text/plain", _decoded("text/plain", field.value or b"")))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        media_type = _text(getattr(file, "content_type", None) or "application/octet-stream")
        found.append((_text(file.field_name), media_type, _decoded(media_type, file.file_object.read())))

    headers = {"Content-Type": declared.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(headers, io.BytesIO(body), on_field, on_file)
    yield from found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        file = io.BytesIO()
        sys.modules["torch"].save(value, file)
        return file.getvalue()
    try:
        return json.dumps(value, indent=2).encode()
    except TypeError:
        raise PredictionFailed("Unsupported model output data type.") from None


def _of_prediction(error: PredictionException) -> ErrorResponse:
    response = PredictionFailed(str(error.message))
    response.status = int(error.error_code)
    return response


def _forget_shadowed(folder: Path) -> None:
    """Let the archive import its own modules where the project has one of the same name."""
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in names and file.startswith(f"{ROOT}/"):
            del sys.modules[name]


def _model_config(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    name = manifest["model"].get("configFile")
    return yaml.safe_load((folder / name).read_text()) or {} if name else {}


def _entry_point(handler: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """Return the function that answers and the one that loads the model.

    A handler that is a function does both; without data, it loads the model.
    """
    module_name, _, function = handler.partition(":")
    module = _module(module_name)
    entry = getattr(module, function or "handle", None)
    if entry is not None:
        return entry, lambda context: entry(None, context)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        message = f"{handler} must define one class or a function `handle`, it has {len(classes)} classes"
        raise InvalidModelException(message)
    service = classes[0]()
    return service.handle, service.initialize


def _module(name: str) -> ModuleType:
    plain = name.removesuffix(".py").rsplit("/", 1)[-1]
    try:
        return importlib.import_module(plain)
    except ModuleNotFoundError as error:
        if error.name != plain:
            raise
    # One of TorchServe's own handlers: image_classifier, text_classifier, ... Some import torchvision, whose operators
    # must be defined first beside a torch for CPUs.
    from handlers.torchvision_ops import ensure_torchvision_ops

    ensure_torchvision_ops()
    return importlib.import_module(f"ts.torch_handler.{plain}")
