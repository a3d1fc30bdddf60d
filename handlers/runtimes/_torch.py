"""What the formats that torch runs have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from handlers.card import Card

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class TorchRuntime:
    """A network on a device; what it returns is a tensor, a tuple in the order of `output_names`, or a dict."""

    network: Callable[[torch.Tensor], Any]
    device: torch.device
    output_names: tuple[str, ...]

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch; outputs are float32, in whatever precision it computes."""
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(inputs).to(self.device))
        return {name: _widened(tensor).cpu().numpy() for name, tensor in self._named(outputs)}

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """First output for float32 inputs, which may be differentiated: what explanations are made of."""
        return next(tensor for _, tensor in self._named(self.network(inputs.to(self.device)))).cpu()

    def _named(self, outputs: Any) -> list[tuple[str, torch.Tensor]]:
        if isinstance(outputs, dict):
            return list(outputs.items())
        tensors = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return list(zip(self.output_names, tensors, strict=True))


def prepare(card: Card, gpu_id: int | None, threads: int) -> torch.device:
    """Set torch's threads and exactness for this worker and return its device.

    TorchServe lets matrix products on newer GPUs run at 10 bits of mantissa, and cuDNN does so by itself; answers would
    then leave the tolerance of the archive's golden answers.
    Raises ValueError where the device cannot compute in the card's precision at a gain.
    """
    torch.set_num_threads(threads)
    device = torch.device("cpu") if gpu_id is None or not torch.cuda.is_available() else torch.device("cuda", gpu_id)
    if card.artifact.precision in HALVES and not computes(card.artifact.precision, device):
        raise ValueError(f"precision {card.artifact.precision}: {refusal(card.artifact.precision, device)}")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    return device


def converted(network: torch.nn.Module, precision: str, channels_last: bool) -> torch.nn.Module:
    """Return the network in another precision and memory order, ready to answer."""
    ordered = torch.channels_last if channels_last else torch.preserve_format
    convert: Callable[..., torch.nn.Module] = network.to  # its types leave the memory order out
    return convert(dtype=getattr(torch, precision), memory_format=ordered).eval()


def computes(precision: str, device: torch.device) -> bool:
    """Whether the device has arithmetic of this precision; without it torch converts back and forth, and loses time."""
    if device.type == "cuda":
        return precision == "float16" or bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    names = {"float16": ("avx512_fp16", "amx_fp16"), "bfloat16": ("avx512_bf16", "amx_bf16")}[precision]
    return any(bool(has.get(name)) for name in names)


def refusal(precision: str, device: torch.device) -> str:
    """Why the device does not compute in this precision, in words."""
    if device.type == "cuda":
        return f"this GPU has no {precision} arithmetic; build the model with another precision"
    return f"no GPU, and this CPU has no {precision} arithmetic; build the model with precision float32"


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALVES.values() else tensor
