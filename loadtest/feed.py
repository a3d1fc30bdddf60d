"""The next sample of each client: prepared samples in turn, or the state of a Gymnasium environment.

Only `stress.environment` needs Gymnasium, so it is imported when an environment is created.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from errors import ConfigError
from loadtest.inputs import RequestSample, as_request_body
from loadtest.load_client import RequestResult


class Feed(Protocol):
    """A source of samples that may depend on earlier predictions."""

    def next(self, client: int, number: int) -> RequestSample:
        """Return what `client` sends as request `number` of the run."""

    def answered(self, client: int, result: RequestResult) -> None:
        """Take the result of that client's last request."""


class SampleCycle:
    """Prepared samples in turn, shared by all clients."""

    def __init__(self, samples: Sequence[RequestSample]) -> None:
        self._samples = samples

    def next(self, client: int, number: int) -> RequestSample:
        """Return sample `number`, starting over after the last."""
        return self._samples[number % len(self._samples)]

    def answered(self, client: int, result: RequestResult) -> None:
        """Ignore the result: prepared samples do not depend on it."""


class Environments:
    """One environment for each client, stepped by the policy's predictions.

    A failed request leaves the state as it was, so the client sends it again.
    """

    def __init__(self, name: str, clients: int, seed: int, fields: list[str] | None, model: str) -> None:
        self._fields = fields
        self._model = model
        self._envs = [_make(name) for _ in range(clients)]
        self._observations = [env.reset(seed=seed + number)[0] for number, env in enumerate(self._envs)]
        self._returns = [0.0] * clients
        self.finished: list[float] = []  # returns of the episodes that ended

    def next(self, client: int, number: int) -> RequestSample:
        """Return the current state of the client's environment."""
        return RequestSample.of_json(f"step-{number}", _state(self._observations[client], self._fields), self._model)

    def answered(self, client: int, result: RequestResult) -> None:
        """Take the predicted action; start a new episode when this one ends."""
        if result.error is not None or not isinstance(result.prediction, dict):
            return
        env = self._envs[client]
        action = env.action_space.from_jsonable([result.prediction.get("action")])[0]
        observation, reward, terminated, truncated, _ = env.step(action)
        self._returns[client] += float(reward)
        if terminated or truncated:
            self.finished.append(self._returns[client])
            self._returns[client] = 0.0
            observation, _ = env.reset()
        self._observations[client] = observation

    def close(self) -> None:
        """Release what the environments hold."""
        for env in self._envs:
            env.close()


def _state(observation: Any, fields: list[str] | None) -> object:
    """Return an observation as JSON: an object of fields or parts, an array, or `observation` with a bare number."""
    if isinstance(observation, dict):
        return as_request_body({key: part.tolist() for key, part in observation.items()})
    values = observation.tolist()
    if fields:
        return dict(zip(fields, values, strict=True))
    return values if isinstance(values, list) else {"observation": values}


def _make(name: str) -> Any:
    """Create an environment. Raises ConfigError when Gymnasium or the environment is missing."""
    try:
        import gymnasium
    except ImportError:
        raise ConfigError("stress.environment needs Gymnasium: pip install -r requirements-demo.txt") from None
    try:
        return gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise ConfigError(f"stress.environment: {' '.join(str(error).split())}") from None
