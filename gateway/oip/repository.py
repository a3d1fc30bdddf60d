"""The model repository: which models there are, and bringing them to serve and away where that is allowed."""

from collections.abc import Callable, Mapping
from typing import Any

from anyio import to_thread

from errors import MarinaError, NotAllowed, NoWorker, RequestError, UnknownModel, UnreadableInput
from gateway.catalog import ServedVersion
from gateway.oip.context import Oip, RepositoryControl

# Models here do not depend on each other: nothing to do for it.
_IGNORED = frozenset({"unload_dependents"})


async def index(oip: Oip, *, ready_only: bool) -> list[dict[str, str]]:
    """Every version that is registered and, where models may be loaded, those that could be."""
    models = (await oip.services.catalog.current()).models
    entries = [_entry(version) for _, model in sorted(models.items()) for version in model.versions]
    if oip.control is not None:
        names = await to_thread.run_sync(oip.control.names)
        entries += [_state(name, "", "UNAVAILABLE", "unloaded") for name in names if name not in models]
    return [entry for entry in entries if entry["state"] == "READY" or not ready_only]


async def load(oip: Oip, model: str, parameters: Mapping[str, Any]) -> None:
    """Rolls the model out. Raises NotAllowed where that is not configured, NoWorker with the reason of a failure."""
    control = _control(oip)
    if parameters:
        raise UnreadableInput("a model is loaded as it was built; parameters of a load are not read")
    if model not in await to_thread.run_sync(control.names):
        raise UnknownModel(f"no model '{model[:80]}' is configured")
    await _in_thread(oip, control.load, model)


async def unload(oip: Oip, model: str, parameters: Mapping[str, Any]) -> None:
    """Takes the model away."""
    control = _control(oip)
    if set(parameters) - _IGNORED:
        raise UnreadableInput("the only parameter of an unload is unload_dependents")
    await oip.services.catalog.find(model)
    await _in_thread(oip, control.unload, model)


def _control(oip: Oip) -> RepositoryControl:
    if oip.control is None:
        raise NotAllowed("models are not loaded or unloaded from here; gateway.repository_control=true allows it")
    return oip.control


async def _in_thread(oip: Oip, call: Callable[[str], None], model: str) -> None:
    try:
        await to_thread.run_sync(call, model)
    except RequestError:
        raise
    except MarinaError as error:
        raise NoWorker(str(error)[:500]) from error
    finally:
        oip.services.catalog.forget()
    # What the client asks next must see what it just did.
    await oip.services.catalog.fresh()


def _entry(version: ServedVersion) -> dict[str, str]:
    if version.workers_ready:
        return _state(version.model, version.version, "READY", "")
    return _state(version.model, version.version, "UNAVAILABLE", "no worker")


def _state(name: str, version: str, state: str, reason: str) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}
