"""FastAPI and eager PyTorch around one policy: `python bench/peers/fastapi_policy/server.py PORT WEIGHTS`.

WEIGHTS are those of bench/peers/rust/src/main.rs.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class State(BaseModel):
    """One observation."""

    cart_position: float
    cart_velocity: float
    pole_angle: float
    pole_angular_velocity: float


def network(weights: Path) -> torch.nn.Sequential:
    """Return the network: 4-64-64-2 with Tanh between."""
    values, modules = torch.from_numpy(np.fromfile(weights, dtype=np.float32)), []
    for inputs, outputs in pairwise((4, 64, 64, 2)):
        layer = torch.nn.Linear(inputs, outputs)
        end = inputs * outputs
        weight, bias, values = values[:end], values[end : end + outputs], values[end + outputs :]
        layer.load_state_dict({"weight": weight.reshape(inputs, outputs).T, "bias": bias})
        modules += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])


def main() -> None:
    """Serve until stopped."""
    torch.set_num_threads(1)
    policy, app = network(Path(sys.argv[2])), FastAPI()

    @app.post("/predict")
    def predict(state: State) -> dict[str, int]:
        with torch.inference_mode():
            return {"action": int(policy(torch.tensor([list(state.model_dump().values())])).argmax())}

    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
