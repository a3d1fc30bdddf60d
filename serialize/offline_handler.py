"""The worker's handler, made as TorchServe makes it but without TorchServe around it."""

import importlib.util
import inspect
from dataclasses import replace
from pathlib import Path

import torch

from errors import BuildError
from handlers import card, runtimes
from handlers.card import Card
from handlers.model_handler import ModelHandler
from handlers.runtimes import Runtime
from handlers.vision_handler import VisionHandler


def reading(path: Path, model_card: Card) -> ModelHandler:
    """The handler of the file `path`, able to read requests. Raises BuildError when the file holds none."""
    handler = handler_class(path)()
    handler.card = model_card
    handler.batch_size = model_card.request_params.batch_size
    try:
        handler.configure()
    except ValueError as error:
        raise BuildError(f"{path}: {error}") from None
    return handler


def running(folder: Path, entry: str) -> ModelHandler:
    """The handler of a laid out archive, able to read requests and to run the network."""
    handler = reading(folder / entry, card.load(folder / "model.json"))
    handler.model = runtime(folder, handler.card)
    return handler


def runtime(folder: Path, model_card: Card) -> Runtime:
    """The artifact in `folder`, loaded as a worker loads it. Raises BuildError where this machine cannot run it."""
    try:
        return runtimes.load(folder, replace(model_card, threads=1), _gpu(model_card))
    except ValueError as error:
        raise BuildError(f"{model_card.model_name}: nothing is packed that cannot be compared here: {error}") from None


def _gpu(model_card: Card) -> int | None:
    """The GPU for what only a GPU computes, where this machine has one; everything else is compared on the CPU."""
    built = model_card.document["artifact"].get("built_for") or {}
    wanted = model_card.artifact.precision != "float32" or built.get("device") == "cuda"
    return 0 if wanted and torch.cuda.is_available() else None


def handler_class(path: Path) -> type[ModelHandler]:
    """The one class that a handler file defines, which is the one TorchServe takes. Raises BuildError otherwise."""
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
    """Whether a user's subclass of VisionHandler brings pictures to the network's size in a way of its own."""
    return isinstance(handler, VisionHandler) and "image_processing" in vars(type(handler))
