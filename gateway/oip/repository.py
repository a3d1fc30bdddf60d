"""The model repository: what the server and its models are, and loading and unloading where that is allowed.

Results are plain dicts, which REST sends as JSON and gRPC makes into messages.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from anyio import to_thread

from errors import MarinaError, NotAllowed, NoWorker, RequestError, UnknownModel, UnreadableInput
from gateway.model_card import ModelCard
from gateway.oip.infer_statistics import InferStatistics
from gateway.oip.load_config import registration_of
from gateway.oip.tensor_metadata import TensorMetadata, inputs_of
from gateway.oip.triton_words import failing_to_load, in_tritons_words
from gateway.routes.health import has_worker, missing_models
from gateway.served_models import ServedModel, ServedVersion
from gateway.services import Services
from handlers.outputs import OutputTensor, output_tensors

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
    "trace",
)
# Names that clients of Triton know.
_PLATFORMS: Mapping[str, str] = {"onnx": "onnxruntime_onnx", "torchscript": "pytorch_libtorch", "eager": "pytorch"}
_CONFIG_TYPES: Mapping[str, str] = {"BYTES": "TYPE_STRING"}
# Models here do not depend on each other, so there is nothing to do for these parameters.
_IGNORED_PARAMETERS = frozenset({"unload_dependents"})

_Found = TypeVar("_Found")


class RepositoryControl(Protocol):
    """Loads and unloads models. Its calls may take minutes and are made in a thread; they raise MarinaError."""

    def names(self) -> Sequence[str]:
        """Return the models that can be loaded."""
        ...

    def configured(self) -> Collection[str]:
        """Return the models that are configured, built or not."""
        ...

    def load(self, model: str, registration: Mapping[str, int]) -> None:
        """Make the engine serve the model as it was last built; `registration` replaces some of its batch settings."""
        ...

    def unload(self, model: str) -> None:
        """Make the engine stop serving the model."""
        ...


class ModelRepository:
    """Answers requests about the server and its models; without `control`, it loads and unloads nothing."""

    def __init__(self, services: Services, statistics: InferStatistics, control: RepositoryControl | None) -> None:
        self._services = services
        self._statistics = statistics
        self._control = control

    async def missing(self) -> list[str]:
        """Return the reasons why the server is not ready; empty when it is ready."""
        return await missing_models(self._services)

    async def is_ready(self, model: str, version: str | None) -> bool:
        """Return whether this version of a model has a worker.

        Raises UnknownModel, but not for an unloaded model, and NoWorker while the configuration cannot be read.
        """
        try:
            _, found = await self._find(model, version)
        except NoWorker:
            return False
        except UnknownModel:
            if self._control is None or model not in await _in_thread(self._control.names):
                raise
            return False
        return has_worker(self._services, found)

    async def metadata(self, model: str, version: str | None) -> dict[str, Any]:
        """Return a model's versions and its tensors, none while no worker has reported the model's card."""
        served, found = await self._find(model, version)
        inputs = inputs_of(found.card)
        return {
            "name": served.name,
            "versions": [each.version for each in served.versions],
            "platform": _platform(found.card),
            "inputs": [] if inputs is None else [_metadata(each) for each in inputs.metadata],
            "outputs": [_metadata(each) for each in output_tensors(found.card)],
        }

    async def config(self, model: str, version: str | None) -> dict[str, Any]:
        """Return a model's configuration."""
        _, found = await self._find(model, version)
        return model_config(found, self._services.settings.engine.name)

    async def statistics(self, model: str | None, version: str | None) -> list[dict[str, Any]]:
        """Return the protocol's `model_stats` of one version or all, of one model or all."""
        if model is None:
            found = (await self._services.catalog.current()).models
            models = [each for _, each in sorted(found.items())]
        else:
            models = [(await self._find(model, version))[0]]
        versions = [each for served in models for each in served.versions if version in (None, each.version)]
        return self._statistics.of((each.model, each.version) for each in versions)

    async def index(self, *, ready_only: bool) -> list[dict[str, str]]:
        """Return every registered or recorded version and, where models may be loaded, the models that could be.

        Raises NoWorker while the configuration, which names those models, cannot be read.
        """
        models = (await self._services.catalog.current()).models
        entries = [_index_entry(version) for _, model in sorted(models.items()) for version in model.versions]
        lost = self._services.catalog.lost()
        entries += [_entry(name, version, "UNAVAILABLE", "not registered") for name, version in sorted(lost.items())]
        if self._control is not None and not ready_only:
            names = await _in_thread(self._control.names)
            known = {entry["name"] for entry in entries}
            entries += [_entry(name, "", "UNAVAILABLE", "unloaded") for name in names if name not in known]
        return [entry for entry in entries if entry["state"] == "READY" or not ready_only]

    async def load(self, model: str, parameters: Mapping[str, Any]) -> None:
        """Roll the model out, with the batch settings of the parameter `config` if it is sent.

        Raises NotAllowed where the configuration forbids it, UnknownModel for a model that is not configured or not
        built, UnreadableInput for other parameters, NoWorker when it fails.
        """
        control = self._allowed()
        with failing_to_load(model):
            registration = registration_of(parameters)
            if model not in await _in_thread(control.names):
                if model in await _in_thread(control.configured):
                    raise UnknownModel(f"it is configured, but not built: make generate_mar MODEL={model}")
                raise UnknownModel("no model of that name is configured")
            await self._change(partial(control.load, model, registration))

    async def unload(self, model: str, parameters: Mapping[str, Any]) -> None:
        """Remove the model from the engine. Raises as `load` does."""
        control = self._allowed()
        if set(parameters) - _IGNORED_PARAMETERS:
            raise UnreadableInput("the only parameter of an unload is unload_dependents")
        if model not in self._services.catalog.recorded():
            await self._services.catalog.find(model)
        await self._change(partial(control.unload, model))

    async def _find(self, model: str, version: str | None) -> tuple[ServedModel, ServedVersion]:
        """Return a model and one of its versions, the default one for None, as the engine serves them now."""
        with in_tritons_words():
            served = await self._services.catalog.describe(model, version)
        return served, served.version(version) or served.default

    def _allowed(self) -> RepositoryControl:
        if self._control is None:
            raise NotAllowed("models are not loaded or unloaded from here; gateway.repository_control=true allows it")
        return self._control

    async def _change(self, call: Callable[[], None]) -> None:
        try:
            await _in_thread(call)
        finally:
            self._services.catalog.forget()
        # The client's next request must see the change.
        await self._services.catalog.fresh()


async def _in_thread(call: Callable[[], _Found]) -> _Found:
    """Return what a call of RepositoryControl returns. Raises NoWorker with its reason when it fails."""
    try:
        return await to_thread.run_sync(call)
    except RequestError:
        raise
    except MarinaError as error:
        raise NoWorker(str(error)[:500]) from error


def server_metadata(version: str, *, shared_memory: bool) -> dict[str, Any]:
    """Return name, version and extensions of this server."""
    extensions = [*EXTENSIONS, *(["system_shared_memory"] if shared_memory else [])]
    return {"name": "marina", "version": version, "extensions": extensions}


def model_config(version: ServedVersion, backend: str) -> dict[str, Any]:
    """Return the configuration of a version; `backend` is the engine's name.

    A request may hold any number of instances, so `max_batch_size` is 0 and the dims keep their first dimension. For a
    batched `tensors` model it is the registered batch size, and the dims are those of one instance, as Triton's clients
    for preprocessed pictures expect.

    The parameters name labels, fields, actions, numbers with their units, and batch settings.
    """
    inputs = inputs_of(version.card)
    named = inputs is not None and inputs.config_batch
    return {
        "name": version.model,
        "platform": _platform(version.card),
        "backend": backend,
        "max_batch_size": version.batch_size if named else 0,
        "input": [] if inputs is None else [_config_input(each, named) for each in inputs.metadata],
        "output": [_config_tensor(each, named) for each in output_tensors(version.card)],
        "instance_group": [{"name": version.model, "count": version.workers}],
        "parameters": {name: {"string_value": text} for name, text in _config_parameters(version).items()},
    }


def _platform(card: ModelCard) -> str:
    return _PLATFORMS.get(str((card.get("artifact") or {}).get("format")), "torchserve")


def _metadata(tensor: TensorMetadata | OutputTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _config_input(tensor: TensorMetadata, named: bool) -> dict[str, Any]:
    form = {} if tensor.format is None else {"format": f"FORMAT_{tensor.format}"}
    return _config_tensor(tensor, named) | form


def _config_tensor(tensor: TensorMetadata | OutputTensor, named: bool) -> dict[str, Any]:
    """Return a tensor of the configuration, without the dimension that counts instances where `max_batch_size` does."""
    data_type = _CONFIG_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    return {"name": tensor.name, "data_type": data_type, "dims": list(tensor.shape[named:])}


def _config_parameters(version: ServedVersion) -> dict[str, str]:
    card = version.card
    values = {
        "version": version.version,
        "batch_size": version.batch_size,
        "max_batch_delay_ms": version.max_batch_delay,
        "kind": card.get("kind"),
        "description": card.get("description"),
        "weights": card.get("weights"),
        "labels": card.get("labels"),
        "names": (card.get("output") or {}).get("names"),
        "units": (card.get("output") or {}).get("units"),
        "fields": (card.get("observation") or {}).get("fields"),
        "actions": (card.get("action") or {}).get("names"),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def _index_entry(version: ServedVersion) -> dict[str, str]:
    if version.workers_ready:
        return _entry(version.model, version.version, "READY", "")
    return _entry(version.model, version.version, "UNAVAILABLE", "no worker")


def _entry(name: str, version: str, state: str, reason: str) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}
