"""What the formats that torch runs have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TorchRuntime:
    """A network on a device; what it returns is a tensor, a tuple in the order of `output_names`, or a dict."""

    network: Callable[[torch.Tensor], Any]
    device: torch.device
    output_names: tuple[str, ...]

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch."""
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(inputs).to(self.device))
        return {name: tensor.cpu().numpy() for name, tensor in self._named(outputs)}

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """First output for float32 inputs, which may be differentiated: what explanations are made of."""
        return next(tensor for _, tensor in self._named(self.network(inputs.to(self.device)))).cpu()

    def _named(self, outputs: Any) -> list[tuple[str, torch.Tensor]]:
        if isinstance(outputs, dict):
            return list(outputs.items())
        tensors = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return list(zip(self.output_names, tensors, strict=True))


def prepare(gpu_id: int | None, threads: int) -> torch.device:
    """Set torch's threads and exactness for this worker and return its device.

    TorchServe lets matrix products on newer GPUs run at 10 bits of mantissa, and cuDNN does so by itself; answers would
    then leave the tolerance of the archive's golden answers.
    """
    torch.set_num_threads(threads)
    if gpu_id is None or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", gpu_id)
