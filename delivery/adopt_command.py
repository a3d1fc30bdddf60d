"""`python -m delivery adopt`: one archive, or all that a running TorchServe serves."""

from pathlib import Path

import settings
from delivery.adopt import carry_out, is_trusted, plan_adoption
from delivery.adopt_torchserve import DeploymentPlan, adopt_each, check_adoptable, plan_deployment
from delivery.machine_settings import machine_settings
from delivery.running_torchserve import read_running
from errors import ConfigError
from settings import Settings

SOURCE = "torchserve"
FILE_OPTIONS: dict[str, tuple[str, ...]] = {"golden": ("none", "answers"), "trust": ("yes", "no"), "model": ()}
"""Options and their values, () for any."""
DEPLOYMENT_OPTIONS: dict[str, tuple[str, ...]] = {
    **FILE_OPTIONS,
    SOURCE: (),
    "samples": (),
    "key_file": (),
    "model_store": (),
    "config": (),
}
UNTRUSTED = (
    "nothing of {what} has run yet; adopting and serving it runs its handler with your rights: add trust=yes if you"
    " trust its maker, or sign it with `python -m archive sign`"
)


class UsageError(Exception):
    """The words are not those of the command."""


def adopt(words: list[str]) -> int:
    """Run the command and return its exit status. Raises MarinaError, and UsageError for too few words."""
    if words[0].startswith(f"{SOURCE}="):
        return _adopt_deployment(*_read_words(words, DEPLOYMENT_OPTIONS))
    if len(words) < 2:
        raise UsageError
    return _adopt_file(Path(words[0]), Path(words[1]), *_read_words(words[2:], FILE_OPTIONS))


def _read_words(words: list[str], known: dict[str, tuple[str, ...]]) -> tuple[dict[str, str], list[str]]:
    """Return the options of the command, and the overrides."""
    options, overrides = {}, []
    for word in words:
        name, _, value = word.partition("=")
        if name not in known:
            overrides.append(word)
            continue
        options[name] = value
        if (allowed := known[name]) and value not in allowed:
            raise ConfigError(f"command line: {name} must be {' or '.join(allowed)}, not {value!r}")
    return options, overrides


def _adopt_file(source: Path, samples: Path, options: dict[str, str], overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    plan = plan_adoption(source, samples, loaded, name=options.get("model"))
    print("\n".join(plan.lines), flush=True)
    if options.get("trust") != "yes" and not is_trusted(plan, loaded):
        raise ConfigError(UNTRUSTED.format(what="this archive"))
    done = carry_out(plan, loaded, overrides, golden=options.get("golden") != "none")
    print(f"{done.archive.path}  {done.archive.size:,} bytes  {done.summary}")
    print(f"{done.model_file}{'' if done.new_settings else ' is kept as it was'}")
    print(f"`make upload_model MODEL={plan.name}` rolls it out")
    return 0


def _adopt_deployment(options: dict[str, str], overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    paths = {name: Path(value) for name, value in options.items() if name in ("key_file", "model_store", "config")}
    running = read_running(options[SOURCE], loaded, **paths)
    samples = Path(options["samples"]) if "samples" in options else None
    plan = plan_deployment(running, samples, loaded, only=options.get("model"))
    print("\n".join(plan.lines), flush=True)
    check_adoptable(running)
    if not plan.models:
        raise ConfigError("no model can be adopted; the lines above say why")
    untrusted = [model.name for model in plan.models if not model.trusted]
    if options.get("trust") != "yes" and untrusted:
        raise ConfigError(UNTRUSTED.format(what=", ".join(untrusted)))
    return _adopt_all(plan, loaded, overrides, golden=options.get("golden") != "none")


def _adopt_all(plan: DeploymentPlan, loaded: Settings, overrides: list[str], *, golden: bool) -> int:
    print(flush=True)
    outcomes = []
    for model, line, adopted in adopt_each(plan, loaded, overrides, golden=golden):
        renamed = "" if model.name == model.served.name else f" ({model.served.name} there)"
        print(f"{model.name}{renamed} {line}", flush=True)
        outcomes.append(adopted)
    machine = machine_settings(plan.running, loaded)
    lacking = machine.write(plan.running.url)
    if lacking is not None:
        print(f"{machine.path} is kept as it was; it lacks:\n{lacking}", end="")
    elif machine.values:
        print(f"{machine.path} has the limits of the deployment")
    count = sum(outcomes)
    failed, refused = len(outcomes) - count, len(plan.refused)
    print(f"{count} adopted, {failed} failed, {refused} refused, {len(plan.left)} left out")
    if count:
        print("`make up`, and `make upload_model MODEL=name` for each, roll them out")
    return 1 if failed or refused else 0
