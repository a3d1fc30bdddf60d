"""The framework's own answers to the benchmark's pictures: `python -m bench.reference FOLDER`, as bench.assets runs it.

It reads FOLDER/eager, an unpacked archive of `artifact: eager`, and FOLDER/pictures. It writes the files that the
peers in PyTorch load, weather.pt (state dict) and weather.ts.pt (TorchScript), and reference.json: the right
probabilities for each decode level and picture. `exact` has one set: the framework's. A picture decoded at reduced
size is another picture, so `fast` has three: the exact one, the framework's after Pillow's reduced decode, and
Marina's own.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from PIL import Image

from bench.peers.pipeline import Pipeline
from handlers.torchvision_ops import ensure_torchvision_ops

PREFIX = "network."


def main(folder: Path) -> None:
    """Write the three files."""
    ensure_torchvision_ops()
    from torchvision import transforms
    from torchvision.models import mobilenet_v3_small

    card = json.loads((folder / "eager" / "model.json").read_text())
    stored = torch.load(folder / "eager" / card["artifact"]["file"], weights_only=True)
    weights = {name.removeprefix(PREFIX): value for name, value in stored.items() if name.startswith(PREFIX)}
    torch.save(weights, folder / "weather.pt")
    network = mobilenet_v3_small(num_classes=len(card["labels"]))
    network.load_state_dict(weights)
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript
        traced: torch.jit.ScriptModule = torch.jit.trace(network, torch.zeros(1, 3, 224, 224))  # type: ignore[no-untyped-call]  # torch's
        traced.save(str(folder / "weather.ts.pt"))
    settings = card["preprocessing"]
    prepare = transforms.Compose(
        [
            transforms.Resize(settings["resize"]),
            transforms.CenterCrop(settings["crop"]),
            transforms.ToTensor(),
            transforms.Normalize(settings["mean"], settings["std"]),
        ]
    )
    paths = sorted((folder / "pictures").glob("*.jpg"))

    def framework(path: Path, *, reduced: bool) -> dict[str, float]:
        with torch.inference_mode(), Image.open(path) as picture:
            if reduced:
                picture.draft("RGB", (settings["resize"], settings["resize"]))
            chances = network(prepare(picture.convert("RGB"))[None]).softmax(1)[0]
        return dict(zip(card["labels"], chances.tolist(), strict=True))

    exact = [framework(path, reduced=False) for path in paths]
    fast = [[right, framework(path, reduced=True)] for path, right in zip(paths, exact, strict=True)]
    if (folder / "fast").is_dir():
        own = Pipeline(folder / "fast").answer([path.read_bytes() for path in paths])
        for right, answer in zip(fast, own, strict=True):
            right.append(answer["probabilities"])
    (folder / "reference.json").write_text(json.dumps({"exact": [[right] for right in exact], "fast": fast}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
