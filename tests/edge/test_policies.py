"""Compiled policies of every kind answer as their handler does; a policy that cannot be compiled says why."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archive import open_archive
from edge.verify import ANY, STATE, TOLERANCE, HarnessReply, verify
from errors import EdgeError
from tests.edge import archives, fuzz, reference
from tests.edge.archives import box_head, gaussian_head, spec
from tests.edge.conftest import Make

STATES = 3000
WIDE = {"type": "box", "shape": [3], "dtype": "float64", "low": [None, -1e-3, 0.0], "high": [None, 1e-3, 2.0]}
WHOLE = {"type": "box", "shape": [2], "dtype": "int64", "low": [0, 0], "high": [4, 2]}
GRID = {"type": "box", "shape": [2, 3], "dtype": "float32", "low": None, "high": None}
PICTURE = {"type": "box", "shape": [2, 2, 3], "dtype": "uint8", "low": 0, "high": 255}
BOUNDED = {"type": "box", "shape": [2], "dtype": "float32", "low": [-1.0, -0.5], "high": [1.0, 2.0]}
SCALED = {"type": "box", "shape": [2], "dtype": "float32", "low": [-1000.0, 0.0], "high": [1000.0, 1e-4]}
FIGURES = {"mean": [0.5, -3.0, 0.1, 0.0], "var": [4.0, 0.25, 1e-4, 9.0], "epsilon": 1e-8, "clip": 2.0}
OPEN = {"type": "box", "shape": [2, 1], "dtype": "float32", "low": [[None], [None]], "high": [[None], [None]]}

POLICIES: dict[str, dict[str, Any]] = {
    "discrete": {"network": spec([4, 64, 64, 3]), "fields": archives.FIELDS},
    "no hidden layer": {"network": spec([4, 3])},
    "deep and odd": {"network": spec([4, 7, 33, 12, 9, 3], "ELU")},
    "counted from one": {"network": spec([4, 8, 12]), "action": {"type": "discrete", "n": 12, "start": 1}},
    "clipped observation": {"network": spec([4, 16, 3]), "out_of_range": "clip"},
    "float64 space": {"network": spec([3, 16, 3]), "space": WIDE},
    "one hot": {"network": spec([8, 16, 3], encoding="one_hot", sizes=[5, 3]), "space": WHOLE},
    "grid": {"network": spec([6, 16, 3], "ReLU"), "space": GRID},
    "scaled picture": {"network": spec([12, 16, 3], "SiLU", encoding="flatten", scale=255.0), "space": PICTURE},
    "continuous, clipped": {
        "network": spec([4, 32, 2], head=box_head([-1.0, -0.5], [1.0, 2.0])),
        "action": BOUNDED,
        "gain": 3.0,
    },
    "continuous, squashed": {
        "network": spec([4, 64, 2], "GELU", head=box_head([-1000.0, 0.0], [1000.0, 1e-4], squash=True, limit=2.0)),
        "action": SCALED,
    },
    "continuous, unbounded": {
        "network": spec([4, 64, 2], "Mish", head=box_head([None, None], [None, None], shape=[2, 1])),
        "action": OPEN,
        "gain": 2.0,
    },
    "gaussian, clipped": {
        "network": spec([4, 32, 2], head=gaussian_head([2], log_std=[0.5, -1.0])),
        "action": BOUNDED,
        "gain": 3.0,
        "distribution": {"type": "gaussian", "squash": False},
    },
    "gaussian, squashed": {
        "network": spec([4, 64, 4], head=gaussian_head([2], squash=True)),
        "action": SCALED,
        "distribution": {"type": "gaussian", "squash": True},
    },
    "multi discrete": {"network": spec([4, 16, 7]), "action": {"type": "multi_discrete", "nvec": [2, 5]}},
    "multi binary": {"network": spec([4, 16, 5]), "action": {"type": "multi_binary", "n": 5}},
}


@pytest.mark.parametrize("name", POLICIES)
def test_policy_compiled_answers_as_its_handler(name: str, make: Make, tmp_path: Path) -> None:
    archive = archives.pack(tmp_path / "policy.mar", **POLICIES[name])
    policy = archives.policy(archive)
    program = make(policy)
    found = verify(program, partial(reference.handler, archive), policy, open_archive(archive), STATES)
    assert found.golden == 1
    assert found.ties <= STATES / 1000
    assert found.deviation <= TOLERANCE
    space = policy.space
    if len(space.shape) == 1:
        forms = [
            (STATE if number % 5 == 0 else ANY, body)
            for number, body in enumerate(_bodies(policy.observation.fields, policy.size))
        ]
        expected = reference.answers(archive, "policy", forms)
        assert [_text(answer) for answer in program(forms)] == [_text(answer) for answer in expected]


def test_policy_with_normalisation_answers_as_its_handler(make: Make, tmp_path: Path) -> None:
    network = spec([4, 16, 3], encoding="flatten", scale=1.0, normalization=FIGURES)
    archive = archives.pack(tmp_path / "policy.mar", network, fields=archives.FIELDS)
    policy = archives.policy(archive)
    found = verify(make(policy), partial(reference.handler, archive), policy, open_archive(archive), STATES)
    assert found.ties <= STATES / 1000


def _bodies(fields: Any, size: int) -> list[bytes]:
    """Return bodies whose errors depend on the policy, and numbers close to the bounds."""
    one = [0.0] * size
    documents: list[Any] = [
        [],
        [[]],
        [one, one[1:]],
        [*one, 0],
        [one, [1e9] * size],
        [1e39] * size,
        {"instances": [one, 3]},
        {},
        {"instances": []},
        {"instances": [one], "more": 1},
        [0.5] * size,
        [-0.0] * size,
        [[[one]]],
    ]
    if fields:
        named = dict.fromkeys(fields, 0.0)
        documents += [named, named | {"ß" * 50: 1, "b": 2}, {**named, fields[0]: []}, {**named, fields[-1]: None}]
    return [json.dumps(document).encode() for document in documents] + fuzz.bodies(40, fields, size)


def _text(answer: HarnessReply) -> tuple[int, str]:
    """Return an error's text; continuous actions agree within a tolerance, so their digits may differ."""
    return answer.status, "" if answer.status == 200 else answer.body.decode()


def test_float32_numbers_have_the_digits_of_handler_and_gateway(make: Make, tmp_path: Path) -> None:
    """The network is the identity, so the action is the observation and every digit must agree."""
    import torch

    from handlers import networks

    head = box_head([None], [None])
    network = spec([1, 1], "Identity", head=head)
    real = networks.build_network

    def identity(described: dict[str, Any]) -> torch.nn.Module:
        built = real(described)
        built.load_state_dict({"layers.0.weight": torch.ones(1, 1), "layers.0.bias": torch.zeros(1)})
        return built

    archives.networks.build_network = identity  # type: ignore[attr-defined]
    try:
        space = {"type": "box", "shape": [1], "dtype": "float32", "low": [None], "high": [None]}
        archive = archives.pack(tmp_path / "same.mar", network, space, space, fields=["x"])
    finally:
        archives.networks.build_network = real  # type: ignore[attr-defined]
    program = make(archives.policy(archive))
    bits = np.random.default_rng(1).integers(0, 2**32, 4000, dtype=np.uint32)
    powers = (np.arange(-149, 128).astype(np.float64)[:, None] * 1.0).ravel()
    numbers = [
        *bits.view(np.float32),
        *np.exp2(powers).astype(np.float32),
        *(np.float32(10) ** np.arange(-12, 20, dtype=np.float32)),
    ]
    bodies = [json.dumps({"x": float(number)}).encode() for number in numbers if np.isfinite(number)]
    forms = [(form, body) for body in bodies for form in (ANY, STATE)]
    assert program(forms) == reference.answers(archive, "same", forms)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"network": {"type": "torchvision"}},
            "its network is of type torchvision, and the edge compiles plain layers only",
        ),
        (
            {"artifact": {"format": "onnx-int8", "file": "model.pt"}},
            "its artifact is onnx-int8; the edge reads the weights of",
        ),
        ({"kind": "vision"}, "it is a vision model, not a policy"),
        ({"network": None, "artifact": {"format": "eager", "file": "model.pt"}}, "rebuild the archive"),
        ({"network": archives.spec([4, 9, 3])}, "its artifact has layers of"),
        ({"normalisation": {"mean": [0.0]}}, "its card has normalisation, which the edge does not compile"),
        (
            {"network": archives.spec([4, 8, 3]) | {"layer_norm": True}},
            "its network's description has layer_norm, which the edge does not compile",
        ),
        (
            {"network": archives.spec([4, 8, 3], encoding="flatten", scale=1.0, mean=[0.0])},
            "its network's description, observation, has mean, which the edge does not compile",
        ),
        ({"network": archives.spec([4, 8, 3], head={"type": "beta"})}, "beta one, which the edge does not compile"),
        (
            {"action": {"space": archives.DISCRETE, "names": None, "sampling": "greedy"}},
            "its card, action, has sampling, which the edge does not compile",
        ),
        (
            {"observation": {"fields": None, "space": {"type": "tuple"}, "out_of_range": "reject"}},
            "type must be one of box, not tuple",
        ),
        (
            {"network": archives.spec([4, 8, 3], encoding="combined", parts=[])},
            "it combines observations of several parts, which the edge does not compile",
        ),
        (
            {"network": archives.spec([4, 8, 3], encoding="nature_cnn")},
            "it reads images through convolutions, which the edge does not compile",
        ),
    ],
)
def test_policy_that_cannot_be_compiled_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    archive = archives.pack(tmp_path / "policy.mar", spec([4, 8, 3]), card=changes)
    with pytest.raises(EdgeError, match="policy cannot be compiled: ") as refused:
        archives.policy(archive)
    assert reason in str(refused.value)


def test_verify_program_of_another_policy_is_refused(make: Make, tmp_path: Path) -> None:
    right = archives.pack(tmp_path / "policy.mar", spec([4, 16, 3]))
    wrong = archives.pack(tmp_path / "policy-2.mar", spec([4, 16, 3]), seed=1)
    policy = archives.policy(right)
    program = make(archives.policy(wrong))
    with pytest.raises(EdgeError, match="answered differently"):
        verify(program, partial(reference.handler, right), policy, open_archive(right), STATES)


def test_observation_in_an_envelope_is_answered_and_its_options_are_refused(make: Make, tmp_path: Path) -> None:
    drawn = {"type": "categorical", "masks": True}
    archive = archives.pack(tmp_path / "policy.mar", spec([4, 8, 3]), fields=archives.FIELDS, distribution=drawn)
    program = make(archives.policy(archive))
    state = dict.fromkeys(archives.FIELDS, 0.25)
    plain: list[dict[str, Any]] = [
        {"observation": state},
        {"observation": [0.25] * 4},
        {"observation": state, "more": 1},
        {"observation": 3},
    ]
    bodies = [(ANY, json.dumps(body).encode()) for body in plain]
    assert list(program(bodies)) == reference.answers(archive, "policy", bodies)
    options: list[dict[str, Any]] = [{"deterministic": False}, {"seed": 7}, {"action_masks": [1, 1, 0]}]
    held: list[dict[str, Any]] = [{"observation": state}, {"instances": [state]}]
    asked = [each | option for option in options for each in held]
    for answer in program([(ANY, json.dumps(body).encode()) for body in asked]):
        assert answer.status == 422
        assert "send deterministic, seed and action_masks to the gateway" in answer.body.decode()
