"""Creates the worker's handler as TorchServe does, but without TorchServe."""

import importlib.util
import inspect
from dataclasses import replace
from pathlib import Path

import torch

from errors import BuildError
from handlers import card, golden, request_body, runtimes
from handlers.batch import Instances
from handlers.card import Card
from handlers.model_handler import ModelHandler
from handlers.runtimes import Runtime
from handlers.vision_handler import VisionHandler
from serialize.onnx_session import REFUSED
from serialize.sample_requests import SampleRequest


def reading_handler(path: Path, model_card: Card) -> ModelHandler:
    """Return the handler of the file `path`, ready to read requests. Raises BuildError if the file defines none."""
    handler = handler_class(path)()
    handler.card = model_card
    handler.batch_size = model_card.request_params.batch_size
    try:
        handler.configure()
    except ValueError as error:
        raise BuildError(f"{path}: {error}") from None
    return handler


def running_handler(folder: Path, entry: str) -> ModelHandler:
    """Return the handler of a model folder, ready to read requests and to run the network."""
    handler = reading_handler(folder / entry, card.load(folder / "model.json"))
    handler.model = load_runtime(folder, handler.card)
    return handler


def read_request(handler: ModelHandler, request: SampleRequest) -> Instances:
    """Return the network's inputs and the request's options as the worker reads them. Raises RequestError."""
    row = golden.GoldenSample(request.content_type, request.body, []).row
    return handler.read(request_body.body_of(row)[1], request.content_type)


def load_runtime(folder: Path, model_card: Card) -> Runtime:
    """Load the artifact in `folder` as a worker does. Raises BuildError if this machine cannot run it."""
    try:
        return runtimes.load(folder, replace(model_card, threads=1), _gpu(model_card))
    except (ValueError, *REFUSED) as error:
        raise BuildError(f"{model_card.model_name}: nothing is packed that cannot be compared here: {error}") from None


def _gpu(model_card: Card) -> int | None:
    """Return the GPU of this machine for artifacts that only a GPU runs; the CPU compares everything else."""
    built = model_card.document["artifact"].get("built_for") or {}
    needed = model_card.artifact.precision != "float32" or built.get("device") == "cuda"
    return 0 if needed and torch.cuda.is_available() else None


def handler_class(path: Path) -> type[ModelHandler]:
    """Return the one class that a handler file defines, which TorchServe takes. Raises BuildError otherwise."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise BuildError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == path.stem]
    if len(classes) != 1 or not issubclass(classes[0], ModelHandler):
        raise BuildError(f"{path}: must define exactly one class, derived from handlers.model_handler.ModelHandler")
    return classes[0]


def has_own_processing(handler: ModelHandler) -> bool:
    """Return True for a user's subclass of VisionHandler with its own `image_processing`."""
    return isinstance(handler, VisionHandler) and "image_processing" in vars(type(handler))
