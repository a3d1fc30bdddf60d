"""The artifacts that torch runs: `eager`, `torchscript`, `aoti` and `pt2`.

eager        the network is built by name, and its weights are read without unpickling anything
torchscript  a graph that holds its own code
aoti         a package that AOTInductor compiled for one kind of device
pt2          a program of torch.export
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handlers.card import Card
from handlers.tensor_records import Tensors

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class TorchRuntime:
    """A network on a device; it returns a tensor, a tuple in the order of `output_names`, or a dict."""

    network: Callable[..., Any]
    device: torch.device
    output_names: tuple[str, ...]
    bfloat16_inputs: frozenset[str] = frozenset()

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch; outputs are float32, in whatever precision it computes."""
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(inputs).to(self.device))
        return {name: _widened(tensor).cpu().numpy() for name, tensor in self._named(outputs)}

    def run(self, inputs: Tensors) -> Tensors:
        """Run the network once, its inputs in the signature's order; BYTES are numpy arrays of bytes objects.

        Outputs keep their types, but bfloat16, which numpy lacks, becomes float32.
        """
        with torch.inference_mode():
            outputs = self.network(*(self._input(name, values) for name, values in inputs.items()))
        return {name: _array(found) for name, found in self._named(outputs)}

    def _input(self, name: str, values: NDArray[Any]) -> Any:
        if values.dtype == object:
            return values
        tensor = torch.from_numpy(values).to(self.device)
        return tensor.bfloat16() if name in self.bfloat16_inputs else tensor

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the first output for float32 inputs, differentiable, for explanations."""
        return next(tensor for _, tensor in self._named(self.network(inputs.to(self.device)))).cpu()

    def _named(self, outputs: Any) -> list[tuple[str, torch.Tensor]]:
        if isinstance(outputs, dict):
            return list(outputs.items())
        tensors = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return list(zip(self.output_names, tensors, strict=True))


@dataclass(frozen=True, eq=False)
class CompiledRuntime:
    """A compiled network, which has no gradients to explain an answer with."""

    runtime: TorchRuntime

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch."""
        return self.runtime(inputs)


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> TorchRuntime | CompiledRuntime:
    """Load the artifact onto the device; raises ValueError where it cannot run there."""
    device = prepare(card, gpu_id, threads)
    match card.artifact.runtime:
        case "eager":
            return _load_eager(path, card, device)
        case "torchscript":
            return _load_torchscript(path, card, device)
        case "pt2":
            return _load_exported(path, card, device)
        case _:
            return _load_compiled(path, card, device)


def prepare(card: Card, gpu_id: int | None, threads: int) -> torch.device:
    """Set torch's threads and exactness for this worker and return its device.

    TorchServe lets matrix products on newer GPUs run at 10 bits of mantissa, and cuDNN does so by default. Answers
    would then leave the tolerance of the archive's golden answers.
    Raises ValueError where the device has no arithmetic of the card's precision.
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
    convert: Callable[..., torch.nn.Module] = network.to  # its type hints lack the memory order
    return convert(dtype=getattr(torch, precision), memory_format=ordered).eval()


def computes(precision: str, device: torch.device) -> bool:
    """Return true where the device has arithmetic of this precision; torch would convert at each step without it."""
    if device.type == "cuda":
        return precision == "float16" or bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    names = {"float16": ("avx512_fp16", "amx_fp16"), "bfloat16": ("avx512_bf16", "amx_bf16")}[precision]
    return any(bool(has.get(name)) for name in names)


def refusal(precision: str, device: torch.device) -> str:
    """Return the reason why the device does not compute in this precision."""
    if device.type == "cuda":
        return f"this GPU has no {precision} arithmetic; build the model with another precision"
    return f"no GPU, and this CPU has no {precision} arithmetic; build the model with precision float32"


def _load_eager(path: Path, card: Card, device: torch.device) -> TorchRuntime:
    # Imported here: only this format needs the networks, and with them torchvision.
    from handlers.networks import build_network

    if card.artifact.network is None:
        raise ValueError("model.json: artifact: network is missing, and the eager format cannot be built without it")
    network = build_network(dict(card.artifact.network), path.parent / "network")
    network.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    if card.signature is not None:  # it keeps its own types
        return _runtime(network.to(device), card, device)
    network = converted(network.to(device), card.artifact.precision, card.artifact.channels_last)
    return _runtime(network, card, device)


def _load_torchscript(path: Path, card: Card, device: torch.device) -> TorchRuntime:
    network: torch.nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    return _runtime(network.eval(), card, device)


def _load_exported(path: Path, card: Card, device: torch.device) -> TorchRuntime:
    return _runtime(exported_network(path).to(device), card, device)


def exported_network(path: Path) -> torch.nn.Module:
    """Return the network of a torch.export file, without its guards: they are Python source, which torch would run.

    The network still checks its inputs against the ranges of their sizes.
    """
    with _only_weights():
        return torch.export.load(path).module(check_guards=False)


@contextmanager
def _only_weights() -> Iterator[None]:
    """Let torch.export read the tensors of its archive without unpickling, which it falls back to otherwise."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FORCE)
        if before is not None:
            os.environ[_FORCE] = before


def _runtime(network: Callable[..., Any], card: Card, device: torch.device) -> TorchRuntime:
    inputs = card.signature.inputs if card.signature is not None else ()
    return TorchRuntime(
        network, device, _output_names(card), frozenset(each.name for each in inputs if each.datatype == "BF16")
    )


def _load_compiled(path: Path, card: Card, device: torch.device) -> CompiledRuntime:
    """Load a compiled package.

    Raises ValueError where it was compiled for another kind of device, or for instructions that this CPU lacks and that
    would crash the worker.
    """
    # Imported here: only this format needs the compiler's package, and its import takes seconds.
    from torch._inductor import aoti_load_package

    built = dict(card.document["artifact"].get("built_for") or {})
    if built.get("device") != device.type:
        raise ValueError(f"the package was compiled for {built.get('device')}, this worker runs on {device.type}")
    has = torch.cpu.get_capabilities()
    if missing := [name for name in built.get("instructions", []) if not has.get(name)]:
        raise ValueError(f"the package was compiled for a CPU with {', '.join(missing)}, which this one lacks")
    index = device.index or 0 if device.type == "cuda" else -1
    package = aoti_load_package(str(path), device_index=index)
    return CompiledRuntime(TorchRuntime(package, device, _output_names(card)))


def _output_names(card: Card) -> tuple[str, ...]:
    return tuple(output.name for output in card.network_outputs)


def _array(found: Any) -> NDArray[Any]:
    if not isinstance(found, torch.Tensor):
        return np.asarray(found, object)  # BYTES
    return (found.float() if found.dtype == torch.bfloat16 else found).cpu().numpy()


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALVES.values() else tensor
