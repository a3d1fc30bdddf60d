"""Models that are declared to Ray Serve instead of rolled out.

publish_only   model_mars/NAME.mar ──▶ NAME-VERSION.mar in the store, not registered
declare        NAME-VERSION.mar, ... ──▶ Serve's configuration, for `serve deploy` or a RayService of KubeRay
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import settings
from archive import Archive, TrustPolicy, open_trusted
from delivery.journal import rollout_lock
from delivery.publish import next_free_version, publish, same_content, version_order
from delivery.stores import open_store
from delivery.stores.store import Store, archive_file_name
from engines.python.registry import ModelRegistry, RegisteredVersion, Registration
from engines.ray.serve_config import serve_config_text
from errors import ConfigError, StoreError
from settings import Settings
from settings.schema import RayServeSettings

NAMED = re.compile(r"([a-z][a-z0-9_]*)-([0-9.]+(?:,[0-9.]+)*)")


def publish_only(built: Path, loaded: Settings) -> tuple[str, str]:
    """Put the built archive of the chosen model into the store, and return model and version.

    The version is new, unless the store has this content with these settings already.
    """
    archive, store = open_trusted(built, TrustPolicy.of(loaded)), open_store(loaded)
    with rollout_lock(archive.model_name, loaded):
        version = _published_version(archive, store, loaded.served_model.request_params.stamped)
        if version is None:
            version = next_free_version(archive, (), store, loaded)
            publish(archive, version, store, loaded)
    return archive.model_name, version


def _published_version(archive: Archive, store: Store, registration: Mapping[str, int]) -> str | None:
    """Return the newest version in the store that has this content and these settings."""
    model = archive.model_name
    newest_first = sorted(store.versions(model), key=version_order, reverse=True)
    for version in newest_first:
        if same_content(archive, registration, archive_file_name(model, version), store):
            return version
    return None


def declare(names: Sequence[str], overrides: Sequence[str]) -> str:
    """Return Serve's configuration as YAML for models named as `digits-1.1,1.0`: the first version answers.

    Batch settings and workers are those of `config/served_model/`. Raises ConfigError for an unknown model or setting,
    StoreError for an archive that is not in the store, ArchiveError for one that is broken or not trusted.
    """
    loaded = settings.load(overrides)
    engine, table = _engine(loaded), ModelRegistry()
    for name in names:
        found = NAMED.fullmatch(name)
        if found is None:
            raise ConfigError(f"{name!r} names no versions; write MODEL-VERSION or MODEL-VERSION,VERSION")
        model, versions = found[1], found[2].split(",")
        of_model = settings.load([f"served_model={model}", *overrides], registering=True)
        for version in versions:
            table = table.put(_entry(version, of_model, open_store(of_model), engine.response_timeout_s))
    return serve_config_text(table, loaded, engine)


def _entry(version: str, loaded: Settings, store: Store, response_timeout_s: int) -> RegisteredVersion:
    model, params = loaded.served_model.model_name, loaded.served_model.request_params
    name = archive_file_name(model, version)
    path = store.path(name)
    if path is None:
        raise StoreError(f"{name} is not in the store; `python -m delivery publish served_model={model}` puts it there")
    archive = open_trusted(path, TrustPolicy.of(loaded))
    if (archive.model_name, archive.version) != (model, version):
        raise StoreError(f"{path} holds {archive.model_name} {archive.version}")
    registration = Registration(
        model=model,
        version=version,
        url=store.url(name),
        sha256=archive.sha256,
        batch_size=params.batch_size,
        max_batch_delay=params.max_batch_delay,
        response_timeout_s=params.response_timeout or response_timeout_s,
    )
    return RegisteredVersion(registration, params.initial_workers, params.initial_workers)


def _engine(loaded: Settings) -> RayServeSettings:
    if not isinstance(loaded.engine, RayServeSettings):
        raise ConfigError(f"engine={loaded.engine.name}: only Ray Serve takes a declaration; add engine=ray")
    if loaded.store.name == "s3":
        raise ConfigError("store=s3: its links expire after presign_s, and a declaration stays; use the file browser")
    return loaded.engine
