"""A stack of two engine hosts on this machine, on free ports and in a folder of its own; one can be killed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.nodes import Engine, engine, environment, run


@dataclass(frozen=True)
class TwoNodes:
    """`env`: the stack with gateway, store and node `a`; `b`: the other node, which is only an engine."""

    env: dict[str, str]
    b: Engine

    @property
    def second(self) -> Mapping[str, str]:
        """The environment of node `b`."""
        return self.b.env

    @property
    def gateway(self) -> str:
        """Base of the gateway's routes."""
        return f"http://127.0.0.1:{self.env['MARINA_GATEWAY_PORT']}"

    def run(self, *arguments: str) -> str:
        """Run one of the kit's programs to its end; returns what it printed, raises MarinaError when it fails."""
        return run(arguments, self.env)

    def kill_second(self) -> None:
        """Ends node `b` as a power cut would."""
        self.b.kill()

    def start_second(self) -> None:
        """Starts node `b`, empty; it is up when this returns, and brought up to date by the keeper afterwards."""
        self.b.start()
        self.b.wait()

    def stop(self) -> None:
        """Ends both."""
        self.b.stop()
        self.run("-m", "stack", "down")


@contextlib.contextmanager
def two_nodes(folder: Path, archives: Path, models: Sequence[str]) -> Iterator[TwoNodes]:
    """Both hosts up and `models` rolled out on them, from the built archives in `archives`; ended with the block."""
    env = environment(folder / "a", archives)
    b = engine("b", folder / "b", env)
    env["MARINA_NODES"] = f"[{Engine('a', env).described},{b.described}]"
    made = TwoNodes(env, b)
    try:
        made.start_second()
        made.run("-m", "stack", "up")
        for model in models:
            made.run("upload_model.py", f"served_model={model}")
        yield made
    finally:
        made.stop()
