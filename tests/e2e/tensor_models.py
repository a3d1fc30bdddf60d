"""Models of kind `tensors` for the end-to-end tests: a scikit-learn MLP on a table, and an LSTM with two inputs."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier
from torch import nn

from tests.onnx_graphs import write_graph

IRIS = ["sepal length", "sepal width", "petal length", "petal width"]
WORDS, LETTERS = 11, 5


def write_mlp(path: Path, seed: int = 0) -> tuple[MLPClassifier, NDArray[np.float32]]:
    """Train a classifier of scikit-learn on its flowers; write its layers as ONNX: row [N, 4] → probabilities."""
    rows, kinds = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        model = MLPClassifier((8,), random_state=seed, max_iter=200).fit(rows, kinds)
    weights = {f"w{at}": each for at, each in enumerate(model.coefs_)}
    weights |= {f"b{at}": each for at, each in enumerate(model.intercepts_)}
    nodes = [
        helper.make_node("Gemm", ["row", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w1", "b1"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    stored = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    row, probabilities = ("row", TensorProto.FLOAT, ["N", 4]), ("probabilities", TensorProto.FLOAT, ["N", 3])
    write_graph(path, nodes, [row], [probabilities], stored)
    return model, rows.astype(np.float32)


class Reader(nn.Module):
    """words INT64 [N, L], scale FP32 [N] → score FP32 [N, 3], states FP32 [N, L, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, LETTERS)
        self.lstm = nn.LSTM(LETTERS, LETTERS, batch_first=True)
        self.head = nn.Linear(LETTERS, 3)

    def forward(self, words: torch.Tensor, scale: torch.Tensor) -> Any:
        states, _ = self.lstm(self.words(words))
        return self.head(states[:, -1]) * scale.unsqueeze(1), states


def write_lstm(path: Path) -> Any:
    """Write the LSTM as TorchScript and return the module."""
    torch.manual_seed(5)
    module = Reader().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]  # torch's
    return module


MLP_YAML = """\
model_name: iris
kind: tensors
handler: handlers/tensor_handler.py
checkpoint: {checkpoint}
batched: true
inputs:
  - name: row
    columns:
      - {{name: sepal length, unit: cm, low: 0, high: 10}}
      - {{name: sepal width, unit: cm, low: 0, high: 10}}
      - {{name: petal length, unit: cm, low: 0, high: 10}}
      - {{name: petal width, unit: cm, low: 0, high: 10}}
outputs:
  - {{name: probabilities, labels: [setosa, versicolor, virginica]}}
request_params: {{batch_size: 8, max_batch_delay: 1, initial_workers: 1}}
"""
LSTM_YAML = """\
model_name: reader
kind: tensors
handler: handlers/tensor_handler.py
checkpoint: {checkpoint}
artifact: torchscript
batched: true
inputs:
  - {{name: words, datatype: INT64, shape: [-1], low: 0, high: 10}}
  - {{name: scale, datatype: FP32, shape: []}}
outputs:
  - {{name: score, datatype: FP32, shape: [3]}}
  - {{name: states, datatype: FP32, shape: [-1, 5]}}
request_params: {{batch_size: 8, max_batch_delay: 1, initial_workers: 1}}
"""
