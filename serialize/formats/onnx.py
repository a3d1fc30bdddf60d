"""`onnx`: a graph with a dynamic batch, where asked with pre-processing inside and dynamic height and width."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialize.formats import _onnx
from serialize.formats._in_graph import RESIZE_OPSET, prepend
from serialize.source import Source


@dataclass(frozen=True)
class Onnx:
    """torch.onnx.export, then ONNX Runtime's offline optimisation."""

    name: str = "onnx"
    file: str = "model.onnx"
    runtime: str = "onnx"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the optimised graph."""
        with _onnx.refusals():
            if source.in_graph is None:
                _onnx.export(source, target)
                return {"opset": _onnx.OPSET}
            _onnx.export(source, target, RESIZE_OPSET)
            prepend(target, source.in_graph)
        return {"opset": RESIZE_OPSET, "preprocessing": True}


FORMAT = Onnx()
