"""Archives of small policies with random weights, packed as `make generate_mar` packs them, without its exporters."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archive import TrustPolicy, open_trusted, sealed, write_zip
from archive.manifest import CARD, GOLDEN
from edge.c_source import policy_header
from edge.edge_policy import EdgePolicy, read_edge_policy
from handlers import networks
from handlers.action_selection import select_actions
from handlers.json_object import JsonObject
from handlers.spaces import action_distribution, action_space
from serialize.pack import json_bytes
from settings.load import ROOT

FIELDS = ["position", "speed", "angle", "turn"]
CARTPOLE_FIELDS = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]
BOX = {
    "type": "box",
    "shape": [4],
    "dtype": "float32",
    "low": [-4.8, None, -0.42, None],
    "high": [4.8, None, 0.42, None],
}
DISCRETE = {"type": "discrete", "n": 3, "start": 0}


def spec(
    widths: list[int], activation: str = "Tanh", head: dict[str, Any] | None = None, **encoding: Any
) -> dict[str, Any]:
    observation = encoding or {"encoding": "flatten", "scale": 1.0}
    return {
        "type": "policy",
        "observation": observation,
        "widths": widths,
        "activation": activation,
        "head": head or {"type": "logits"},
    }


def box_head(
    low: list[Any], high: list[Any], squash: bool = False, limit: float | None = None, shape: Any = None
) -> dict[str, Any]:
    return {"type": "box", "shape": shape or [len(low)], "low": low, "high": high, "limit": limit, "squash": squash}


def gaussian_head(shape: list[int], log_std: list[float] | None = None, squash: bool = False) -> dict[str, Any]:
    return {"type": "gaussian", "shape": shape, "log_std": log_std, "squash": squash}


def pack(
    path: Path,
    network: dict[str, Any],
    action: dict[str, Any] = DISCRETE,
    space: dict[str, Any] = BOX,
    fields: list[str] | None = None,
    out_of_range: str = "reject",
    version: str = "1.0",
    seed: int = 0,
    gain: float = 1.0,
    card: dict[str, Any] | None = None,
    distribution: dict[str, Any] | None = None,
) -> Path:
    """Pack one archive at `path`, whose name is the model's."""
    torch.manual_seed(seed)
    built = networks.build_network(network)
    state = {name: value * gain for name, value in built.state_dict().items()}
    built.load_state_dict(state)
    weights = io.BytesIO()
    torch.save(dict(state), weights)
    described: dict[str, Any] = {
        "schema_version": 1,
        "model_name": path.stem.split("-")[0],
        "kind": "policy",
        "description": "",
        "weights": "trained",
        "artifact": {"format": "eager", "file": "model.pt", "network": network},
        "request_params": {"batch_size": 4, "max_batch_delay": 1, "initial_workers": 1},
        "observation": {"fields": fields, "space": space, "out_of_range": out_of_range},
        "action": {"space": action, "names": None} | ({"distribution": distribution} if distribution else {}),
        "network": network,
    } | (card or {})
    values = np.full((1, *space["shape"]), 0.0 if space["dtype"] != "float32" else 0.125)
    picture = torch.uint8 if space["dtype"] == "uint8" and len(space["shape"]) == 3 else torch.float32
    with torch.inference_mode():
        output = built(torch.from_numpy(values).to(picture)).numpy()
    described_action = JsonObject(described["action"], "test")
    actions = action_space(described_action.object("space"))
    drawn = action_distribution(described_action, actions)
    predictions = [{"action": action} for action in select_actions(output, actions, drawn, {})]
    sample = {
        "content_type": "application/json",
        "body": base64.b64encode(json.dumps(values.tolist()).encode()).decode(),
        "predictions": predictions,
    }
    files = {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in (ROOT / "handlers").rglob("*.py")}
    files |= {
        "policy_handler.py": files["handlers/policy_handler.py"],
        "model.pt": weights.getvalue(),
        CARD: json_bytes(described),
    }
    files[GOLDEN] = json_bytes({"tolerance": 1e-4, "samples": [sample]})
    model = {
        "modelName": described["model_name"],
        "modelVersion": version,
        "handler": "policy_handler.py",
        "serializedFile": "model.pt",
    }
    write_zip(sealed(files, {"model": model}), path)
    return path


def policy(path: Path) -> EdgePolicy:
    """Read the policy in the archive at `path`."""
    return read_edge_policy(open_trusted(path, TrustPolicy(100_000_000)))


def export(folder: Path, version: str) -> None:
    """Write the C of a small cartpole policy to the folder that the edge's image compiles."""
    network, action = spec([4, 16, 2]), {"type": "discrete", "n": 2, "start": 0}
    archive = pack(folder / "cartpole.mar", network, action, fields=CARTPOLE_FIELDS, version=version)
    (folder / "policy.h").write_text(policy_header(policy(archive)))
