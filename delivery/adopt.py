"""Adopts an archive that another tool built.

plan_adoption ─▶ read, run nothing ─▶ AdoptionPlan: files, handler, settings that the archive asks for
carry_out     ─▶ private engine answers the samples ─▶ NAME.mar in model_mars/ ─▶ config/served_model/NAME.yaml

Delivery then treats the archive as one that Marina built.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archive import Archive, TrustPolicy, UnpackLimits, open_trusted, sealed, write_sealed
from archive.adopted import adopted_files, adopted_manifest
from archive.foreign import ForeignArchive, read_foreign
from archive.manifest import ADOPTED_GOLDEN, NAME
from archive.requirements_file import RequestedPackages, requested_packages
from archive.sample_requests import SampleFile, read_samples
from delivery.archive_packages import check_against_engine, install_packages
from delivery.private_engine import PrivateArchive, private_handler, reason_in_log
from delivery.recorded_answers import record, recorded_request
from engines.engine_profile import ModelVersion
from engines.torchserve.model_config import AdoptedConfig, adopt_config
from errors import ArchiveError, ConfigError
from files import explained, replace_durably, staging_folder, write_once
from settings import Settings
from settings.load import CONFIG

KIND = "adopted"
SHOWN_FILES = 40


@dataclass(frozen=True)
class AdoptionPlan:
    """An archive of another maker that can be adopted as the model `name`; none of its code has run."""

    foreign: ForeignArchive
    name: str
    config: AdoptedConfig
    requested: RequestedPackages | None
    samples: tuple[SampleFile, ...]
    model_file: Path

    @property
    def lines(self) -> list[str]:
        """The description for the person who decides whether to trust it; it sends a terminal no commands."""
        foreign = self.foreign
        named = "" if self.name == foreign.name else f", adopted as {self.name}"
        where = foreign.handler_file or "TorchServe's own"
        lines = [
            f"{foreign.path}  sha256 {foreign.sha256}",
            f"model      {foreign.name} {foreign.version}{named}",
            f"handler    {foreign.handler} ({where})",
            *(f"config     {note}" for note in self.config.notes),
            *(f"package    {each}" for each in (self.requested.shown if self.requested else ())[:SHOWN_FILES]),
            f"samples    {', '.join(f'{each.name} ({each.content_type})' for each in self.samples[:SHOWN_FILES])}",
            f"files      {len(foreign.files)}",
            *(f"  {len(foreign.files[name]):>12,}  {name}" for name in sorted(foreign.files)[:SHOWN_FILES]),
            *([f"  and {len(foreign.files) - SHOWN_FILES} more"] if len(foreign.files) > SHOWN_FILES else []),
        ]
        return printable(lines)


def printable(lines: Iterable[str]) -> list[str]:
    """Return lines that send a terminal no commands."""
    return ["".join(each if each.isprintable() else "?" for each in line) for line in lines]


@dataclass(frozen=True)
class Adoption:
    """An adopted archive: the file, and whether its settings are new; those of an earlier adoption are kept."""

    archive: Archive
    model_file: Path
    new_settings: bool

    @property
    def summary(self) -> str:
        """The number of samples, and how answers are compared with theirs."""
        golden = self.archive.golden
        without = self.archive.card["golden"] == "none"
        compared = "no golden answers" if without else f"tolerance {golden['tolerance']:g}"
        count = len(golden["samples"])
        return f"{count} sample{'' if count == 1 else 's'} recorded, {compared}"


def fitting_name(name: str) -> str:
    """Return a name without the characters that a model's name may not have here; it may be empty."""
    return re.sub(r"[^a-z0-9_]", "_", name.lower()).lstrip("_0123456789")[:100]


def plan_adoption(
    source: Path,
    samples: Path,
    settings: Settings,
    *,
    name: str | None = None,
    served: ModelVersion | None = None,
    config: Path = CONFIG,
) -> AdoptionPlan:
    """Read and check an archive of another maker and the samples; run none of its code and write nothing.

    `name` is the model's name here; None: the archive's own, without the characters that a name may not have. `served`
    describes how a running TorchServe serves it. Raises ArchiveError and ConfigError.
    """
    foreign = read_foreign(source, UnpackLimits(total=settings.rollout.max_unpacked_bytes))
    requested = requested_packages(foreign)
    if requested is not None:
        _check_requirements(foreign, requested, settings)
    name = name or fitting_name(foreign.name)
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name or foreign.name!r} is not a model's name here: give one of a-z, 0-9 and _ as MODEL=")
    model_file = config / "served_model" / f"{name}.yaml"
    _check_free(model_file, name)
    target = Path(settings.paths.archives) / f"{name}.mar"
    if source.resolve() == target.resolve():
        raise ConfigError(f"{source} is the file that would be written; move it to another folder first")
    adopted = adopt_config(foreign.config)
    if served is not None:
        adopted = adopted.as_served(served)
    return AdoptionPlan(foreign, name, adopted, requested, read_samples(samples), model_file)


def _check_requirements(foreign: ForeignArchive, requested: RequestedPackages, settings: Settings) -> None:
    """Raise ArchiveError unless the settings allow packages, and these fit those of the engine."""
    if settings.engine.requirements != "allow":
        raise ArchiveError(
            f"{foreign.path}: asks for packages in {foreign.model['requirementsFile']}; engine.requirements=allow packs"
            " them into the adopted archive"
        )
    check_against_engine(foreign.path, requested, settings.engine.name)


def _check_free(model_file: Path, name: str) -> None:
    """Raise ConfigError when a model that was not adopted has this name."""
    if not model_file.exists():
        return
    with explained(model_file):
        content = yaml.safe_load(model_file.read_text())
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ConfigError(f"{model_file} configures another model named {name}; choose a name with MODEL=")


def is_trusted(plan: AdoptionPlan, settings: Settings) -> bool:
    """Return True when a key that delivery trusts has signed the archive. Raises ArchiveError for another key."""
    if settings.signing.public_key is None:
        return False
    # Imported here: only signatures need cryptography.
    from archive.signing import is_signed_file

    return is_signed_file(plan.foreign.path, plan.foreign.sha256, Path(settings.signing.public_key))


def is_adopted(plan: AdoptionPlan, settings: Settings, *, golden: bool = True) -> bool:
    """Return True when an earlier adoption of the same archive, samples and settings has been completed."""
    try:
        archive = open_trusted(Path(settings.paths.archives) / f"{plan.name}.mar", TrustPolicy.of(settings))
    except (ArchiveError, FileNotFoundError):
        return False
    wanted = adopted_files(plan.foreign, _card(plan, golden=golden), {}, plan.config.file)
    del wanted[ADOPTED_GOLDEN]
    there = {file.name: file.sha256 for file in archive.files}
    same_files = all(there.get(name) == hashlib.sha256(content).hexdigest() for name, content in wanted.items())
    recorded = [(entry["content_type"], entry["body"], entry.get("headers", {})) for entry in archive.golden["samples"]]
    same_samples = recorded == [recorded_request(sample) for sample in plan.samples]
    return plan.model_file.exists() and same_files and same_samples


def carry_out(plan: AdoptionPlan, settings: Settings, words: Sequence[str], *, golden: bool = True) -> Adoption:
    """Record the handler's answers, and write the adopted archive and its settings; `words` are Hydra's overrides.

    Without `golden`, only the statuses of the answers are recorded. Raises MarinaError, and then writes nothing.
    """
    state = Path(settings.paths.state) / "adoptions"
    card = _card(plan, golden=golden)
    packages = install_packages(plan.foreign.path, plan.requested, settings) if plan.requested else {}
    with explained(state), staging_folder(state, plan.name) as staging:
        answers = _record(plan, _draft(plan, card, packages), settings, words, staging, golden=golden)
    files = adopted_files(plan.foreign, card, answers, plan.config.file, packages)
    manifest = adopted_manifest(plan.foreign, plan.name, plan.foreign.version, files)
    target = Path(settings.paths.archives) / f"{plan.name}.mar"
    key = Path(settings.signing.key) if settings.signing.key else None
    with explained(target), staging_folder(target.parent, target.name) as staging:
        draft = staging / "checked" / target.name
        draft.parent.mkdir()
        write_sealed(files, manifest, key, staging, draft)
        _check_trusted(draft, target, settings)
        replace_durably(draft, target)
    archive = open_trusted(target, TrustPolicy.of(settings))
    return Adoption(archive, plan.model_file, write_once(plan.model_file, _settings_text(plan), 0o644))


def _check_trusted(draft: Path, target: Path, settings: Settings) -> None:
    """Raise ArchiveError, with the name that the draft is to get, when deliveries would not trust it."""
    try:
        open_trusted(draft, TrustPolicy.of(settings))
    except ArchiveError as error:
        raise ArchiveError(str(error).replace(str(draft), str(target))) from None


def _draft(plan: AdoptionPlan, card: dict[str, Any], packages: Mapping[str, bytes]) -> PrivateArchive:
    """Return the archive as the private engine runs it, without golden answers."""
    version = plan.foreign.version
    files = adopted_files(plan.foreign, card, {}, plan.config.file, packages)
    return PrivateArchive(plan.name, version, sealed(files, adopted_manifest(plan.foreign, plan.name, version, files)))


def _record(
    plan: AdoptionPlan, draft: PrivateArchive, settings: Settings, words: Sequence[str], folder: Path, *, golden: bool
) -> dict[str, Any]:
    try:
        with private_handler(draft, settings, words, folder) as ask:
            return record(ask, plan.samples, compared=golden)
    except ArchiveError as error:
        logged = reason_in_log(folder)
        raise ArchiveError(f"{plan.foreign.path}: {error}{f' ({logged})' if logged else ''}") from None


def _card(plan: AdoptionPlan, *, golden: bool) -> dict[str, Any]:
    foreign = plan.foreign
    return {
        "schema_version": 1,
        "model_name": plan.name,
        "kind": KIND,
        "task": KIND,
        "weights": KIND,
        "golden": "answers" if golden else "none",
        "description": _description(foreign),
        "content_types": sorted({sample.content_type for sample in plan.samples}),
        "request_params": dict(plan.config.registration),
        "provenance": {
            "archive": foreign.path.name,
            "sha256": foreign.sha256,
            "model_name": foreign.name,
            "handler": foreign.handler,
        },
    }


def _description(foreign: ForeignArchive) -> str:
    return f"Adopted from {foreign.path.name}; its handler is {foreign.handler}."


def _settings_text(plan: AdoptionPlan) -> str:
    """Return the text of config/served_model/NAME.yaml."""
    content = {
        "model_name": plan.name,
        "version": plan.foreign.version,
        "description": _description(plan.foreign),
        "kind": KIND,
        "request_params": dict(plan.config.registration),
    }
    head = f"# Adopted from {plan.foreign.path.name}, sha256 {plan.foreign.sha256}. `make adopt` wrote this file.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
