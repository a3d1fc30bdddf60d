"""Checkpoints that hold their own network: TorchScript, ONNX, and `.pt2` of torch.export.

    FILE ──graph_kind──▶ "torchscript", "onnx" or "pt2" ──read_graph──▶ GraphNetwork

Nothing is unpickled, and serialize.exported_file checks what torch would evaluate. These networks take images as
training code does: float32 [N, C, H, W], scaled to 0..1 and normalised.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from errors import BuildError
from handlers.networks import ImageClassifier
from handlers.runtimes.pytorch import exported_network
from serialize.exported_file import check_exported
from serialize.onnx_session import session


class GraphNetwork(nn.Module):
    """A network that a file holds as a graph, which computes in its own types whatever the wrapper is cast to."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule: an exported program refuses eval() and a frozen one keeps its types.
        self._held = (network,)

    @property
    def held(self) -> Any:
        """The network as its library loaded it."""
        return self._held[0]

    def forward(self, images: torch.Tensor | list[torch.Tensor]) -> Any:
        """Run the graph on float32 images; a detector's one image comes in a list."""
        return self.held(_batch(images))

    def __deepcopy__(self, memo: Any) -> "GraphNetwork":
        """Return the same network, which nothing changes."""
        return self


class OnnxNetwork(GraphNetwork):
    """An ONNX graph in ONNX Runtime; the formats of torch cannot hold it."""

    def __init__(self, path: Path) -> None:
        super().__init__(session(path))
        self.path = path

    def forward(self, images: torch.Tensor | list[torch.Tensor]) -> Any:
        """Run the graph; return its outputs by name."""
        found = self.held.run(None, {self.held.get_inputs()[0].name: _batch(images).numpy()})
        return {
            output.name: torch.from_numpy(each) for output, each in zip(self.held.get_outputs(), found, strict=True)
        }


def graph_kind(path: Path) -> str | None:
    """Return the kind of graph in a file: torchscript, pt2 or onnx; None for weights alone."""
    if path.suffix == ".onnx":
        return "onnx"
    if not zipfile.is_zipfile(path):
        return None
    names = {name.partition("/")[2] for name in _names(path)}
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    return (
        "pt2"
        if any(name.startswith("models/") or name == "serialized_exported_program.json" for name in names)
        else None
    )


def read_graph(path: Path, kind: str) -> GraphNetwork:
    """Load the network of a file. Raises BuildError where it cannot be read, or only by running code from it."""
    try:
        match kind:
            case "onnx":
                return OnnxNetwork(path)
            case "torchscript":
                return GraphNetwork(_without_gradients(torch.jit.load(str(path), map_location="cpu").eval()))  # type: ignore[no-untyped-call]
            case _:
                check_exported(path)
                return GraphNetwork(_without_gradients(exported_network(path)))
    except BuildError:
        raise
    except Exception as error:  # noqa: BLE001
        # The readers raise anything for a damaged file, also errors of C++.
        raise BuildError(f"{path}: not a readable {kind} file: {first_line(error)}; write it again") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


class _Pixels(nn.Module):
    """The pre-processing of handlers.networks in front of a script, which tracing cannot hold."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, wrapper: ImageClassifier, script: nn.Module) -> None:
        super().__init__()
        self.network = script
        self.register_buffer("mean", wrapper.mean.float(), persistent=False)
        self.register_buffer("std", wrapper.std.float(), persistent=False)

    def forward(self, pixels: torch.Tensor):  # type: ignore[no-untyped-def]  # a script's type is its own
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        return self.network((scaled - self.mean) / self.std)


def held_graph(network: nn.Module) -> GraphNetwork | None:
    """Return the graph of a file inside an image network; None for every other network."""
    inside = network.network if isinstance(network, ImageClassifier) else None
    return inside if isinstance(inside, GraphNetwork) else None


def scripted(network: nn.Module) -> Any | None:
    """Return an image network around a TorchScript file as one frozen script; None for every other network."""
    graph = held_graph(network)
    if graph is None or not isinstance(graph.held, torch.jit.ScriptModule):
        return None
    assert isinstance(network, ImageClassifier)
    return torch.jit.freeze(torch.jit.script(_Pixels(network, graph.held).eval()))


def _batch(images: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return (torch.stack(images) if isinstance(images, list) else images).float()


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _without_gradients(network: Any) -> Any:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network
