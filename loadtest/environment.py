"""States from Gymnasium environments played live: each client plays its own, and the policy's answer is its next step.

Gymnasium is not needed for anything else here, so it is imported when an environment is asked for.
"""

from typing import Any

from errors import ConfigError
from loadtest.client import Outcome
from loadtest.sample import Sample


class Environments:
    """One environment for each client. An answer that failed leaves the state as it was, and it is asked again."""

    def __init__(self, name: str, clients: int, seed: int, fields: list[str] | None, model: str) -> None:
        self._fields = fields
        self._model = model
        self._envs = [_make(name) for _ in range(clients)]
        self._observations = [env.reset(seed=seed + number)[0] for number, env in enumerate(self._envs)]
        self._returns = [0.0] * clients
        self.finished: list[float] = []  # returns of the episodes that ended

    def next(self, client: int, number: int) -> Sample:
        """The state that the client's environment is in."""
        return Sample.of_json(f"step-{number}", _state(self._observations[client], self._fields), self._model)

    def told(self, client: int, outcome: Outcome) -> None:
        """Take the step; an episode that ends begins anew."""
        if outcome.error is not None or not isinstance(outcome.prediction, dict):
            return
        env = self._envs[client]
        action = env.action_space.from_jsonable([outcome.prediction.get("action")])[0]
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
    """An observation as a request holds it: an object of fields or parts, an array, or a number under its name."""
    if isinstance(observation, dict):
        parts = {key: part.tolist() for key, part in observation.items()}
        return {"observation": parts} if parts.keys() == {"instances"} else parts
    values = observation.tolist()
    if fields:
        return dict(zip(fields, values, strict=True))
    return values if isinstance(values, list) else {"observation": values}


def _make(name: str) -> Any:
    """Raises ConfigError when Gymnasium or the environment is not there."""
    try:
        import gymnasium
    except ImportError:
        raise ConfigError("stress.environment needs Gymnasium: pip install -r requirements-demo.txt") from None
    try:
        return gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise ConfigError(f"stress.environment: {' '.join(str(error).split())}") from None
