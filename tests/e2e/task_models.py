"""Models of every task for the end-to-end tests: a network, its checkpoint and settings, and the network's own answers.

The answers are computed with torchvision's transforms and torch alone, by nothing that the archive holds.
"""

import base64
import copy
import io
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import nn

from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.random_weights import random_network
from serialize.sample_requests import image

LABELS = ["ant", "bee", "cat", "dog", "elk"]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
FEWEST, USUAL = 5, 15
"""Boxes that a detector must find in a picture, and those that its threshold leaves in the first one."""
SIZE = (64, 64)
TOLERANCE = 1e-3
OWN = """
from torch import nn


class Scan(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2)
        self.head = nn.Linear(8, outputs)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))
"""


@dataclass(frozen=True)
class TaskModel:
    """A network that takes float32 [N, C, H, W], normalised, and the YAML that serves its checkpoint."""

    network: nn.Module
    settings: dict[str, Any]


def pictures(model: TaskModel) -> list[tuple[str, bytes]]:
    """Pictures with one answer each.

    A detector of random weights has scores that are nearly equal, of which rounding keeps one or the other; then
    pictures count that the network answers alike in 32 and 64 bits.
    """
    if model.settings["task"] != "detect":
        return [*sent(), *other_kinds()]
    candidates = itertools.chain(sent(), other_kinds(), map(_drawing, range(8)))
    found = list(itertools.islice((each for each in candidates if _is_settled(model, each[1])), len(sent()) + 2))
    assert found, "rounding decides what the detector answers to every picture"
    return found


def _drawing(seed: int) -> tuple[str, bytes]:
    return _stored(Image.fromarray(image(200 + 20 * seed, 300, seed)), "png")


def _is_settled(model: TaskModel, body: bytes) -> bool:
    given = inputs(model, body)
    with torch.inference_mode():
        [narrow], [wide] = model.network(given), copy.deepcopy(model.network).double()(given.double())
    narrow, wide = ({name: each[name][each["scores"] >= _threshold(model)] for name in each} for each in (narrow, wide))
    if len(narrow["labels"]) < FEWEST or not torch.equal(narrow["labels"], wide["labels"]):
        return False
    return all(torch.allclose(narrow[name].double(), wide[name], atol=1e-2) for name in ("scores", "boxes"))


def sent() -> list[tuple[str, bytes]]:
    """Pictures of other sizes than the network's: a PNG, and a JPEG that its EXIF turns."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = _stored(Image.fromarray(image(240, 320, 4)), "jpeg", quality=95, exif=exif)
    return [_stored(Image.fromarray(image(97, 131, 1)), "png"), turned]


def other_kinds() -> list[tuple[str, bytes]]:
    """A CMYK JPEG, a palette, a grey progressive JPEG, and one of 23 megapixels."""
    drawn = [Image.fromarray(image(*size, seed)) for seed, size in enumerate([(80, 120), (150, 90), (200, 160)], 1)]
    large = Image.fromarray(image(480, 600, 7)).resize((5400, 4320))
    return [
        _stored(drawn[0].convert("CMYK"), "jpeg", quality=95),
        _stored(drawn[1].convert("P"), "png"),
        _stored(drawn[2].convert("L"), "jpeg", quality=95, progressive=True),
        _stored(large, "jpeg", quality=90),
    ]


def _stored(picture: Image.Image, form: str, **options: Any) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"image/{form}", buffer.getvalue()


def inputs(model: TaskModel, body: bytes) -> torch.Tensor:
    """Return the network's input [1, C, H, W] as torchvision makes it."""
    ensure_torchvision_ops()
    from torchvision.transforms import v2

    given = model.settings["preprocessing"]
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("L" if given["channels"] == 1 else "RGB")
    scaled = [v2.Resize(given["resize"]), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    found: torch.Tensor = v2.Compose([*scaled, v2.Normalize(given["mean"], given["std"])])(upright)
    return found[None]


def raw(model: TaskModel, body: bytes) -> Any:
    """Return what the network answers to a picture."""
    with torch.inference_mode():
        return model.network(inputs(model, body))


def settings(name: str, task: str, output: dict[str, Any], size: tuple[int, int] = SIZE, **given: Any) -> Any:
    """Return a YAML for `config/served_model/`."""
    channels = given.pop("channels", 3)
    return {
        "model_name": name,
        "kind": "vision",
        "handler": "handlers/vision_handler.py",
        "task": task,
        "preprocessing": {
            "resize": list(size),
            "channels": channels,
            "mean": MEAN[:channels],
            "std": STD[:channels],
        },
        "output": output,
        "request_params": {"batch_size": 4, "max_batch_delay": 5, "initial_workers": 1},
        **given,
    }


SOFTMAX = {"activation": "softmax"}
OUTPUTS: dict[str, dict[str, Any]] = {
    "classify": SOFTMAX,
    "detect": {"threshold": 0.5, "nms": "none"},
    "segment": {**SOFTMAX, "mask": "png"},
}
FORMS = {"detect": "detector", "segment": "segmenter"}


def library(network: str, task: str, size: tuple[int, int] = SIZE) -> Callable[[Path], TaskModel]:
    """Return the maker of a network of torchvision or timm with five classes."""

    def make(folder: Path) -> TaskModel:
        kind, _, name = network.partition("/")
        spec: dict[str, Any] = {"type": kind, "name": name, "classes": len(LABELS), "mean": MEAN, "std": STD}
        form = {"form": FORMS[task]} if task in FORMS else {}
        wrapped: Any = random_network(spec | form, size)
        made: nn.Module = wrapped.network
        checkpoint = folder / "weights.pt"
        found = settings(
            "task", task, dict(OUTPUTS[task]), size, network=network, labels=LABELS, checkpoint=str(checkpoint)
        )
        model = TaskModel(made, found)
        if task == "segment":
            _balance(model)
        if task == "detect":
            scores = raw(model, sent()[0][1])[0]["scores"].tolist()
            found["output"]["threshold"] = round(scores[USUAL], 4)
        torch.save(made.state_dict(), checkpoint)
        return model

    return make


def _threshold(model: TaskModel) -> float:
    return float(model.settings["output"]["threshold"])


def _balance(model: TaskModel) -> None:
    """Let no class of a segmenter win everywhere: its last layer's bias makes up for what it answers on average."""
    logits = torch.cat([raw(model, body)["out"] for _, body in sent()])
    last = [
        each for each in model.network.modules() if isinstance(each, nn.Conv2d) and each.out_channels == len(LABELS)
    ][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias -= logits.mean((0, 2, 3))


def embedding(folder: Path) -> TaskModel:
    """MobileNetV3-Small without its classifier."""
    spec = {"type": "torchvision", "name": "mobilenet_v3_small", "classes": None, "features": True}
    wrapped: Any = random_network(spec | {"mean": MEAN, "std": STD}, SIZE)
    checkpoint = str(folder / "weights.pt")
    torch.save(wrapped.network.state_dict(), checkpoint)
    output = {"size": 1024, "normalize": True}
    return TaskModel(
        wrapped.network,
        settings("task", "embed", output, network="torchvision/mobilenet_v3_small", checkpoint=checkpoint),
    )


def own(folder: Path, outputs: int, channels: int) -> nn.Module:
    """Return the network of a user's file, which is written to `folder`."""
    (folder / "scan.py").write_text(OWN)
    space: dict[str, Any] = {"__name__": "scan"}
    exec(compile(OWN, "scan.py", "exec"), space)
    torch.manual_seed(0)
    network: Any = space["Scan"](channels, outputs).eval()
    with torch.no_grad():  # so that what it answers depends on the picture
        network.head.weight *= 10
    frozen: nn.Module = network.requires_grad_(False)
    return frozen


def one_channel(folder: Path) -> TaskModel:
    """A user's own class on grey pictures."""
    network = own(folder, len(LABELS), 1)
    checkpoint = folder / "weights.pt"
    torch.save(network.state_dict(), checkpoint)
    given: dict[str, Any] = {
        "network": f"{folder / 'scan.py'}:Scan",
        "network_args": {"channels": 1, "outputs": len(LABELS)},
    }
    return TaskModel(
        network,
        settings("task", "classify", SOFTMAX, channels=1, labels=LABELS, checkpoint=str(checkpoint), **given),
    )


def regression(folder: Path) -> TaskModel:
    """Two numbers with units, one of them scaled, from a user's own class and safetensors."""
    from safetensors.torch import save_file

    network, checkpoint = own(folder, 2, 3), folder / "weights.safetensors"
    save_file(network.state_dict(), checkpoint)
    given: dict[str, Any] = {"network": f"{folder / 'scan.py'}:Scan", "network_args": {"channels": 3, "outputs": 2}}
    output = {"names": ["age", "height"], "units": ["years", None], "scale": [10.0, 1.0], "offset": [40.0, 0.0]}
    return TaskModel(network, settings("task", "regress", output, checkpoint=str(checkpoint), **given))


def graph(name: str) -> Callable[[Path], TaskModel]:
    """Return the maker of a checkpoint that holds its own network, in a file of this name."""

    def make(folder: Path) -> TaskModel:
        network, path = own(folder, len(LABELS), 3), folder / name
        example = torch.zeros(2, 3, *SIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says which exporter it likes better
            if path.suffix == ".onnx":
                axes = {"x": {0: "n"}, "y": {0: "n"}}
                names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
                torch.onnx.export(network, (example,), path, dynamo=False, **names)
            else:
                batch = ({0: torch.export.Dim("batch")},)
                torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), path)
        return TaskModel(network, settings("task", "classify", SOFTMAX, labels=LABELS, checkpoint=str(path)))

    return make


def check(model: TaskModel, body: bytes, prediction: dict[str, Any]) -> None:
    """Fail unless a prediction is the network's own answer to the picture."""
    found, picture = raw(model, body), Image.open(io.BytesIO(body))
    if model.settings["task"] == "detect":
        found = [{name: each[name][each["scores"] >= _threshold(model)] for name in each} for each in found]
    CHECKS[model.settings["task"]](found, prediction, picture)


def check_variety(model: TaskModel, predictions: list[dict[str, Any]]) -> None:
    """Fail if the answers say nothing about the pictures: such would be right for wrong pictures too."""
    match model.settings["task"]:
        case "classify":
            shares = [[each["probabilities"][label] for label in LABELS] for each in predictions]
            assert np.ptp(shares, axis=0).max() > 10 * TOLERANCE
        case "segment":
            assert max(len(np.unique(decoded(each))) for each in predictions) >= 2


def _classes(logits: Any, prediction: dict[str, Any], sent: Image.Image) -> None:
    del sent
    shares = logits.softmax(1)[0].numpy()
    np.testing.assert_allclose([prediction["probabilities"][label] for label in LABELS], shares, atol=TOLERANCE)
    assert prediction["label"] == LABELS[int(shares.argmax())]


def _vector(found: Any, prediction: dict[str, Any], sent: Image.Image) -> None:
    del sent
    np.testing.assert_allclose(prediction["embedding"], (found / found.norm())[0].numpy(), atol=TOLERANCE)


def _numbers(found: Any, prediction: dict[str, Any], sent: Image.Image) -> None:
    del sent
    age, height = found[0].tolist()
    assert prediction["units"] == {"age": "years", "height": None}
    np.testing.assert_allclose(list(prediction["values"].values()), [40 + 10 * age, height], atol=10 * TOLERANCE)


def _boxes(found: Any, prediction: dict[str, Any], sent: Image.Image) -> None:
    size = ImageOps.exif_transpose(sent).size
    assert (prediction["width"], prediction["height"]) == size
    served = prediction["detections"]
    assert len(served) == len(found[0]["scores"]) >= FEWEST
    scale = np.array([*size, *size]) / np.array([*SIDE, *SIDE])
    for number, each in enumerate(served):
        assert each["label"] == LABELS[int(found[0]["labels"][number])]
        assert abs(each["score"] - float(found[0]["scores"][number])) < TOLERANCE
        np.testing.assert_allclose(each["box"], found[0]["boxes"][number].numpy() * scale, atol=0.5)


def _regions(found: Any, prediction: dict[str, Any], sent: Image.Image) -> None:
    width, height = ImageOps.exif_transpose(sent).size
    classes = found["out"].argmax(1, keepdim=True).float()
    expected = nn.functional.interpolate(classes, (height, width), mode="nearest-exact")[0, 0].numpy()
    served = decoded(prediction)
    assert served.shape == (height, width)
    assert np.mean(served == expected) > 0.999
    areas = {LABELS[number]: int((served == number).sum()) for number in np.unique(served)}
    assert {name: area for name, area in prediction["areas"].items() if area} == areas


def decoded(prediction: dict[str, Any]) -> NDArray[np.uint8]:
    """Return the class map of a prediction."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(prediction["class_map"]))))


SIDE = (320, 320)
"""Width and height of a detector's input."""
CHECKS: dict[str, Callable[[Any, dict[str, Any], Image.Image], None]] = {
    "classify": _classes,
    "embed": _vector,
    "regress": _numbers,
    "detect": _boxes,
    "segment": _regions,
}
