"""Archives that the kit did not make, packed by TorchServe's own archiver, and one request as a worker gets it."""

import subprocess
import sys
import warnings
from pathlib import Path

from engines.python.messages import InferenceRequest

PLAIN = """
import json

model = None


def handle(data, context):
    global model
    if data is None:
        model = json.loads(open(context.system_properties["model_dir"] + "/numbers.json").read())
        return None
    answers = []
    for index, row in enumerate(data):
        value = row.get("body") or row.get("data")
        if context.get_request_header(index, "X-Refuse"):
            context.set_response_status(code=422, phrase="Unprocessable Entity", idx=index)
            answers.append("no")
            continue
        context.set_response_header(index, "X-Asked-As", context.get_request_id(index))
        answers.append({"sum": sum(value["numbers"]) + model["plus"], "batch": len(data)})
    return answers
"""

BASE = """
import torch

from ts.torch_handler.base_handler import BaseHandler


class Doubler(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row.get("body") or row.get("data") for row in data], dtype=torch.float32)

    def postprocess(self, outputs):
        return [{"doubled": row.tolist(), "device": str(self.device)} for row in outputs]
"""

BROKEN = """
def handle(data, context):
    if data is None:
        return None
    raise KeyError("nothing of this may come out")
"""


def pack(folder: Path, name: str, handler: Path | str, *, version: str = "1.0", **files: Path | list[Path]) -> Path:
    """`torch-model-archiver` with these files: serialized_file, model_file, extra_files."""
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", name, "--version", version]
    command += ["--handler", str(handler), "--export-path", str(folder)]
    for option, given in files.items():
        paths = given if isinstance(given, list) else [given]
        command += [f"--{option.replace('_', '-')}", ",".join(map(str, paths))]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.mar"


def doubling(path: Path) -> Path:
    """A TorchScript file that doubles its input."""
    import torch

    class Twice(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which such archives are made of
        torch.jit.trace(Twice(), torch.zeros(1, 2)).save(path)  # type: ignore[no-untyped-call]
    return path


def asked(body: bytes, media_type: str = "application/json", query: str = "", **headers: str) -> InferenceRequest:
    named = tuple((name.lower().replace("_", "-"), value) for name, value in headers.items())
    return InferenceRequest("id", (("content-type", media_type), *named), query, body)
