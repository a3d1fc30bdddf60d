"""Computes the answers of Stable-Baselines3's own `predict`, in an interpreter that has the library.

    python -I library_process.py job.json       in a private folder that contains the checkpoint

The program imports nothing of this project and uses only syntax of older Pythons. It replaces what the checkpoint
stores as a pickle by values from the readable text, through the `custom_objects` of the library's own `load`. An audit
hook ends the program if a pickle still names a class or function. Only a job with `unpickle` lets the library
read the pickles, which runs any code in the checkpoint with the user's rights.
"""

import ast
import importlib
import json
import os
import re
import resource
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

MISSING = 3
"""The exit status if a package of the library is not installed; its name is the last line of the output."""

LIBRARIES = ("stable_baselines3", "sb3_contrib")
TRUSTED = ("torch", *LIBRARIES)
"""Packages whose classes a checkpoint may name."""

CLASS = re.compile(r"<class '([\w.]+)'>")
CONSTRUCTOR = re.compile(r"<function (\w+)\.__init__ at ")

# Only training reads these. A stored replay buffer may take 28 GB, and one for hindsight needs an environment.
FOR_TRAINING: Any = {"buffer_size": 1, "n_steps": 1, "n_envs": 1, "train_freq": 1, "optimize_memory_usage": False}
FOR_TRAINING.update({"learning_rate": 0.0, "clip_range": 0.2, "target_entropy": 0.0, "verbose": 0})
FOR_TRAINING.update({"replay_buffer_class": None, "rollout_buffer_class": None})
FOR_TRAINING.update({"replay_buffer_kwargs": {}, "rollout_buffer_kwargs": {}})

ROWS = 64  # observations in one call of predict
ROUNDINGS = 8
"""The number of further runs, each with every weight off by a few units of its last digit."""
UNITS = 4 * 2.0**-23


def main(path: str) -> None:
    """Write `actions.npy` [1 + ROUNDINGS, N, numbers of an action] and `about.json` into the current folder."""
    job = json.loads(Path(path).read_text())
    _limit(job["timeout_s"], job["memory_bytes"])
    model, about = _load(job)
    import numpy as np

    with np.load("observations.npz", allow_pickle=False) as stored:
        observations = {key: stored[f"arr_{number}"] for number, key in enumerate(job["keys"])}
    runs = [_actions(model, observations, job["parts"])]
    runs += [_rounded(model, seed, observations, job["parts"]) for seed in range(ROUNDINGS)]
    np.save("actions.npy", np.stack(runs), allow_pickle=False)
    Path("about.json").write_text(json.dumps(about))


def _limit(seconds: int, memory: int) -> None:
    """Limit the resources of this process, and end it when the build that waits for it has ended."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load(job: Any) -> Any:
    """Return the model that the library loads from the checkpoint, and facts about it."""
    import stable_baselines3

    with zipfile.ZipFile(job["checkpoint"]) as archive:
        data = json.loads(archive.read("data"))
    policy = _policy(data["policy_class"])
    spaces = {key: _space(job[key]) for key in ("observation_space", "action_space")}
    replaced = {key: value for key, value in FOR_TRAINING.items() if key in data}
    about: Any = {"version": stable_baselines3.__version__, "other_spaces": []}
    if job["unpickle"]:
        model = _algorithm(policy).load(job["checkpoint"], device="cpu", custom_objects=replaced)
        about["other_spaces"] = [
            f"{key} {getattr(model, key)}" for key in spaces if not _same(getattr(model, key), spaces[key])
        ]
        return model, about
    pickled = {key: None for key, value in data.items() if isinstance(value, dict) and ":serialized:" in value}
    replaced = dict(pickled, **replaced)
    if "ent_coef" in pickled:
        replaced["ent_coef"] = "auto"
    replaced["policy_class"] = policy
    replaced["policy_kwargs"] = _kwargs(data.get("policy_kwargs") or {})
    algorithm = _algorithm(policy)
    _forbid_pickles()
    return algorithm.load(job["checkpoint"], device="cpu", custom_objects=dict(replaced, **spaces)), about


def _forbid_pickles() -> None:
    """Read tensors with weights_only, and end the program if a pickle names a class or function."""
    import torch

    load = torch.load

    def tensors(*arguments: Any, **options: Any) -> Any:
        return load(*arguments, **dict(options, weights_only=True))

    setattr(torch, "load", tensors)  # noqa: B010

    def refuse(event: str, arguments: Any) -> None:
        if event == "pickle.find_class":
            raise RuntimeError("the library would unpickle {}".format(".".join(map(str, arguments[-2:]))))

    sys.addaudithook(refuse)


def _policy(stored: Any) -> Any:
    """Return the policy's class, whose module and constructor the file stores as text."""
    match = CONSTRUCTOR.match(str(stored.get("__init__")))
    if match is None:
        raise ValueError("the checkpoint does not name the constructor of its policy")
    return _named("{}.{}".format(stored["__module__"], match.group(1)))


def _named(path: str) -> Any:
    """Return the class with that dotted name."""
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] not in TRUSTED:
        raise ValueError("{} is not a class of {}".format(path, ", ".join(TRUSTED)))
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type):
        raise ValueError(f"{path} is not a class")
    return found


def _algorithm(policy: type) -> Any:
    """Return an algorithm with this policy; algorithms that share a policy share its `predict`."""
    package = importlib.import_module(policy.__module__.partition(".")[0])
    for name in package.__all__:
        algorithm = getattr(package, name)
        if policy in getattr(algorithm, "policy_aliases", {}).values():
            return algorithm
    raise ValueError(f"no algorithm of {package.__name__} has the policy {policy.__name__}")


def _kwargs(stored: Any) -> Any:
    """Return the arguments of the policy from their text; Adam replaces an optimiser of another package."""
    found = {}
    for key, value in stored.items():
        if key == "optimizer_class" and str(value).partition("'")[2].partition(".")[0] not in TRUSTED:
            continue
        if not key.startswith(":"):
            found[key] = _value(value)
    if "optimizer_class" not in found:
        found.pop("optimizer_kwargs", None)
    return found


def _value(stored: Any) -> Any:
    if not isinstance(stored, str):
        return stored
    match = CLASS.fullmatch(stored)
    if match is not None:
        return _named(match.group(1))
    try:
        return ast.literal_eval(stored)
    except (ValueError, SyntaxError):
        raise ValueError(f"the argument {stored} of the policy is in the file as a pickle only") from None


def _space(described: Any) -> Any:
    """Return the library's own space: Gymnasium's, or gym's before version 2."""
    import numpy as np
    import stable_baselines3

    old = stable_baselines3.__version__.startswith("1.")
    spaces = importlib.import_module("gym.spaces" if old else "gymnasium.spaces")
    kind = described["type"]
    if kind == "Dict":
        return spaces.Dict({key: _space(part) for key, part in described["parts"]})
    if kind == "Discrete":
        return spaces.Discrete(described["n"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(described["nvec"])
    shape = tuple(described["shape"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else list(shape))
    dtype = np.dtype(described["dtype"])
    low = [-np.inf if value is None else value for value in described["low"]]
    high = [np.inf if value is None else value for value in described["high"]]
    return spaces.Box(np.array(low, dtype).reshape(shape), np.array(high, dtype).reshape(shape), dtype=dtype.type)


def _same(one: Any, other: Any) -> bool:
    """Return True for equal spaces; the start of a Discrete does not count, as `predict` ignores it.

    Switches equal choices of two, because MaskablePPO stores switches and the archive has choices.
    """
    if type(one).__name__ == "Dict" and type(other).__name__ == "Dict":
        return list(one.spaces) == list(other.spaces) and all(
            _same(part, other.spaces[key]) for key, part in one.spaces.items()
        )
    if type(one).__name__ == "Discrete" and type(other).__name__ == "Discrete":
        return bool(one.n == other.n)
    if type(one).__name__ == "MultiBinary" and type(other).__name__ == "MultiDiscrete":
        return bool(list(other.nvec) == [2] * one.sample().size)
    return bool(one == other)


def _rounded(model: Any, seed: int, observations: Any, parts: bool) -> Any:
    """Return the answers of `predict` with each weight off by a few units of its last digit."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    exact = [weights.detach().clone() for weights in model.policy.parameters()]
    with torch.no_grad():
        for weights in model.policy.parameters():
            signs = torch.randint(0, 2, weights.shape, generator=generator) * 2 - 1
            weights.mul_(1 + UNITS * signs)
        found = _actions(model, observations, parts)
        for weights, values in zip(model.policy.parameters(), exact):  # noqa: B905
            weights.copy_(values)
    return found


def _actions(model: Any, observations: Any, parts: bool) -> Any:
    """Return the answers of `predict`, flat: [N, numbers of an action]."""
    import numpy as np

    count = len(next(iter(observations.values())))
    found = []
    for start in range(0, count, ROWS):
        some = {key: values[start : start + ROWS] for key, values in observations.items()}
        answer = model.predict(some if parts else some["observation"], deterministic=True)[0]
        found.append(np.asarray(answer, dtype=np.float64).reshape(min(ROWS, count - start), -1))
    return np.concatenate(found)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in LIBRARIES:
            raise
        sys.stdout.write("{}\n".format(str(error.name).partition(".")[0]))
        sys.exit(MISSING)
