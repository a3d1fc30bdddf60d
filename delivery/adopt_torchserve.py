"""Adopts what a running TorchServe serves, model by model; nothing there is changed.

plan_deployment ─▶ read, run nothing ─▶ DeploymentPlan: an archive, a name and samples for each model, refused ones
adopt_each      ─▶ carry_out for each model that is not adopted yet ─▶ a line each

Each adoption is whole or absent, so a second run after a kill goes on where the first one ended.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.adopt import (
    AdoptionPlan,
    carry_out,
    fitting_name,
    is_adopted,
    is_trusted,
    plan_adoption,
    printable,
)
from delivery.running_torchserve import RunningTorchServe, ServedModel
from delivery.served_archives import archive_of, newer_than_workers
from engines.torchserve.property_uses import notes
from errors import ArchiveError, ConfigError, MarinaError
from settings import Settings
from settings.load import CONFIG

BY_FILE = "`make adopt MAR_FILE= MODEL=` adopts it"
KEPT = "engine.external=true: they stay in effect there; the lines name their use in a TorchServe of `make up`"


@dataclass(frozen=True)
class PlannedModel:
    """A model that can be adopted: its archive, which was read, but is not kept in memory, and how it was shown."""

    served: ServedModel
    name: str
    archive: Path
    samples: Path
    sha256: str
    lines: tuple[str, ...]
    trusted: bool

    def plan(self, settings: Settings, config: Path) -> AdoptionPlan:
        """Read the archive again. Raises ArchiveError when it is not the one that was shown."""
        found = plan_adoption(
            self.archive, self.samples, settings, name=self.name, served=self.served.default, config=config
        )
        if found.foreign.sha256 != self.sha256:
            raise ArchiveError(f"{self.archive}: has changed since it was shown")
        return found


@dataclass(frozen=True)
class DeploymentPlan:
    """The models of a running TorchServe that can be adopted, and a line for each one that cannot.

    `left` has a line for each workflow, each model of one, and each version that is not the default one.
    """

    running: RunningTorchServe
    models: tuple[PlannedModel, ...]
    refused: tuple[str, ...]
    left: tuple[str, ...]
    external: bool = False

    @property
    def lines(self) -> list[str]:
        """The description for the person who decides whether to trust the archives."""
        running = self.running
        count = f"{len(running.models)} model{'' if len(running.models) == 1 else 's'}"
        lines = [
            f"TorchServe at {running.url}: {count}, model store {running.model_store or 'unknown'}",
            f"config.properties: {running.properties_source}",
            *([KEPT] if self.external else []),
            *(f"property   {note}" for note in notes(running.properties)),
            *(line for model in self.models for line in ("", *model.lines)),
            *([""] if self.refused or self.left else []),
            *(f"refused    {line}" for line in self.refused),
            *(f"left out   {line}" for line in self.left),
        ]
        return printable(lines)


def check_adoptable(running: RunningTorchServe) -> None:
    """Raise ConfigError when a property gives handlers other requests than they would get here."""
    for note in notes(running.properties):
        if note.outcome == "refused":
            raise ConfigError(
                f"config.properties has {note.key}={note.value}, which is not offered here: {note.words}; adopt each"
                " archive with MAR_FILE=, if its answers to your samples are right"
            )


def plan_deployment(
    running: RunningTorchServe,
    samples: Path | None,
    settings: Settings,
    *,
    only: str | None = None,
    config: Path = CONFIG,
) -> DeploymentPlan:
    """Find and read the archive of each model; run none of their code and write nothing but what must be fetched.

    `samples` has a folder for each model, by its name there or here. `only` names one model, there or here. Raises
    ConfigError when it is not served; any other reason why a model cannot be adopted is a line of the plan.
    """
    names = Counter(fitting_name(model.name) for model in running.models)
    chosen = [model for model in running.models if only in (None, model.name, fitting_name(model.name))]
    if only is not None and not chosen:
        served = ", ".join(model.name for model in running.models) or "none"
        raise ConfigError(f"TorchServe at {running.url} serves no model {only!r}; its models: {served}")
    planned: list[PlannedModel] = []
    refused: list[str] = []
    left: list[str] = []
    if only is None:
        left += [f"{name}: a workflow; adopt its models, and chain them in business.py" for name in running.workflows]
    for model in chosen:
        try:
            name = fitting_name(model.name)
            if names[name] > 1:
                raise ConfigError(f"{name!r} would be the name of {names[name]} models; {BY_FILE} under another one")
            planned.append(_planned(running, model, name, samples, settings, config))
        except (MarinaError, OSError) as error:
            # TorchServe names a workflow's own models WORKFLOW__NODE; they are left out with it.
            of_workflow = model.name.startswith(tuple(f"{name}__" for name in running.workflows))
            (left if of_workflow else refused).append(f"{model.name}: {error}")
        left += [f"{model.name} {each.version}: not its default version; {BY_FILE}" for each in model.others]
    return DeploymentPlan(running, tuple(planned), tuple(refused), tuple(left), settings.engine.external)


def _planned(
    running: RunningTorchServe, model: ServedModel, name: str, samples: Path | None, settings: Settings, config: Path
) -> PlannedModel:
    archive = archive_of(running, model.default, settings)
    folder = _samples(samples, model.name, name)
    plan = plan_adoption(archive, folder, settings, name=name, served=model.default, config=config)
    warned = newer_than_workers(archive, model.default)
    doubt = ["WARNING    the archive is newer than the workers that serve it; they may run another content"]
    lines = (*plan.lines, *(doubt if warned else []))
    return PlannedModel(model, name, archive, folder, plan.foreign.sha256, lines, is_trusted(plan, settings))


def _samples(samples: Path | None, *names: str) -> Path:
    if samples is None:
        raise ConfigError(f"no samples: SAMPLES=folder has a folder {names[0]} with whole request bodies")
    found = next((samples / name for name in names if (samples / name).is_dir()), None)
    if found is None:
        raise ConfigError(f"no samples: put whole request bodies into {samples / names[0]}")
    return found


def adopt_each(
    plan: DeploymentPlan, settings: Settings, words: Sequence[str], *, golden: bool = True, config: Path = CONFIG
) -> Iterator[tuple[PlannedModel, str, bool]]:
    """Adopt one model after the other, and yield it with a line and with whether it is adopted now.

    An error with one does not stop the others.
    """
    for model in plan.models:
        try:
            found = model.plan(settings, config)
            if is_adopted(found, settings, golden=golden):
                yield model, "is adopted already", True
                continue
            done = carry_out(found, settings, words, golden=golden)
        except MarinaError as error:
            yield model, f"is not adopted: {error}", False
            continue
        kept = "" if done.new_settings else f"; {done.model_file} is kept as it was"
        yield model, f"is adopted: {done.archive.path}, {done.summary}{kept}", True
