"""BentoML: a service class whose workers are processes."""

import os
from pathlib import Path
from typing import Any

import bentoml

from bench.peers.pipeline import Pipeline


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60})
class Classify:
    """A service that takes a file of a form and returns its label."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["MODEL"]))

    @bentoml.api
    def classify(self, data: Path) -> dict[str, Any]:
        """Classify one picture."""
        return self.pipeline.answer([data.read_bytes()])[0]
