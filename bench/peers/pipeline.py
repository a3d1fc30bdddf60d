"""The archive's own handler without a server, for mosec, LitServe, Ray Serve and BentoML.

Decode and forward are then the same code in each of them, and only the serving differs. It runs in a peer's own
environment, which has numpy, onnxruntime, simplejpeg and Pillow, but neither torch nor TorchServe.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

# The handlers import these names of TorchServe; decode and forward use none of them.
TORCHSERVE = {
    "ts": (),
    "ts.metrics": (),
    "ts.metrics.dimension": ("Dimension",),
    "ts.metrics.metric_type_enum": ("MetricTypes",),
}


class Pipeline:
    """A loaded archive that turns pictures or states into predictions."""

    def __init__(self, folder: Path, batch_size: int = 8) -> None:
        _stand_in_for_torchserve()
        sys.path.insert(0, str(folder))
        policy = not (folder / "vision_handler.py").is_file()
        entry = "policy_handler" if policy else "vision_handler"
        handler = getattr(importlib.import_module(entry), "PolicyHandler" if policy else "VisionHandler")
        self.handler: Any = handler()
        self.handler.initialize(
            SimpleNamespace(
                manifest={"model": {"modelVersion": "1.0"}},
                system_properties={"model_dir": str(folder), "batch_size": batch_size, "gpu_id": None},
            )
        )
        self._numpy: Any = importlib.import_module("numpy")

    def read(self, body: bytes, media_type: str = "image/jpeg") -> Any:
        """Return one decoded request: the network's inputs [k, ...]."""
        return self.handler.read(body, media_type).inputs

    def forward(self, inputs: Sequence[Any]) -> Any:
        """Run the network once over all inputs, and return its named outputs."""
        return self.handler.forward(self._numpy.concatenate(inputs))

    def predict(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        """Run the network and return its predictions."""
        return list(self.handler.card.predictions(self.forward(inputs)))

    def answer(self, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
        """Decode one batch of pictures and return their predictions."""
        return self.predict([self.read(body) for body in bodies])


def _stand_in_for_torchserve() -> None:
    if importlib.util.find_spec("ts") is not None:
        return
    for name, classes in TORCHSERVE.items():
        module = ModuleType(name)
        for each in classes:
            setattr(module, each, type(each, (), {}))
        sys.modules[name] = module
