"""ONNX Runtime: sequential and without spinning, so that idle workers leave the cores to the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from handlers.card import Card
from handlers.tensor_records import Tensors


@dataclass(frozen=True, eq=False)
class OnnxRuntime:
    """A session with the names of its outputs, and of its one input where the model is no `tensors` model."""

    session: Any
    input_name: str
    output_names: tuple[str, ...]

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the graph on one batch, or, where `inputs` is an array of arrays, on each shape in it once."""
        if inputs.dtype == object:
            return self._by_shape(list(inputs))
        outputs = self.session.run(self.output_names, {self.input_name: inputs})
        return dict(zip(self.output_names, outputs, strict=True))

    def run(self, inputs: Tensors) -> Tensors:
        """Run the graph once; raises ValueError for an element of BYTES that is not UTF-8."""
        feeds = {name: _texts(values) if values.dtype == object else values for name, values in inputs.items()}
        return dict(zip(self.output_names, self.session.run(self.output_names, feeds), strict=True))

    def _by_shape(self, inputs: list[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        places: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(inputs):
            places.setdefault(each.shape, []).append(place)
        parts = [self(np.stack([inputs[place] for place in same])) for same in places.values()]
        back = np.argsort(np.concatenate(list(places.values())))
        return {name: np.concatenate([part[name] for part in parts])[back] for name in self.output_names}


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> OnnxRuntime:
    """Open a session; on a GPU where ONNX Runtime was built for one."""
    del card
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=_providers(gpu_id))
    names = tuple(output.name for output in session.get_outputs())
    return OnnxRuntime(session, session.get_inputs()[0].name, names)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    """Return bytes as text: ONNX Runtime would read the letters that Python prints for them."""
    found = np.empty(values.size, object)
    found[:] = [each.decode() for each in values.ravel()]
    return found.reshape(values.shape)


def _providers(gpu_id: int | None) -> list[Any]:
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu_id is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu_id}))
    return providers
