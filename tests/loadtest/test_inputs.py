import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from errors import ConfigError, LoadError
from loadtest.inputs import from_path, generate_images, generate_instances, generate_states


def test_from_path_folder_returns_images_in_order_with_media_types(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("b.PNG", "a.jpg", "below/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    samples = from_path(tmp_path, most=10)
    assert [(sample.content_type, sample.body) for sample in samples] == [
        ("image/jpeg", b"a.jpg"),
        ("image/png", b"b.PNG"),
        ("image/webp", b"below/c.webp"),
    ]


def test_from_path_folder_reads_at_most_the_limit(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert len(from_path(tmp_path, most=3)) == 3


def test_from_path_single_image_is_one_sample(tmp_path: Path) -> None:
    (tmp_path / "a.jpeg").write_bytes(b"picture")
    assert [sample.body for sample in from_path(tmp_path / "a.jpeg", most=10)] == [b"picture"]


@pytest.mark.parametrize(
    ("content", "bodies"),
    [
        ([{"x": 1}, {"x": 2}], [{"x": 1}, {"x": 2}]),
        ({"instances": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ([0.5, 1], [[0.5, 1]]),
        ({"image": "aGk="}, [{"image": "aGk="}]),
    ],
    ids=["list of states", "instances", "one bare state", "one request's body"],
)
def test_from_path_json_has_one_sample_per_state(tmp_path: Path, content: object, bodies: list[object]) -> None:
    path = tmp_path / "states.json"
    path.write_text(json.dumps(content))
    samples = from_path(path, most=10)
    assert [json.loads(sample.body) for sample in samples] == bodies
    assert {sample.content_type for sample in samples} == {"application/json"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent", None, "No such file"),
        ("states.json", "{", "neither a picture nor JSON"),
        ("states.json", "[]", "holds no state"),
        ("states.json", "7", "holds no state"),
    ],
)
def test_from_path_unusable_file_raises_one_line(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        from_path(tmp_path / name, most=10)
    assert "\n" not in str(refused.value)


def test_from_path_folder_without_images_raises(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ConfigError, match="no picture in"):
        from_path(tmp_path, most=10)


def test_generate_images_are_different_jpegs_of_given_size() -> None:
    samples = generate_images(3, 60, 80, random.Random(0))
    for sample in samples:
        with Image.open(io.BytesIO(sample.body)) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (80, 60), "RGB")
            assert picture.convert("L").getextrema() != (0, 0)
    assert len({sample.body for sample in samples}) == 3


def test_generate_images_same_seed_gives_same_images() -> None:
    assert generate_images(2, 8, 8, random.Random(1)) == generate_images(2, 8, 8, random.Random(1))
    assert generate_images(2, 8, 8, random.Random(1)) != generate_images(2, 8, 8, random.Random(2))


def _values(space: dict[str, Any], fields: list[str] | None = None) -> list[Any]:
    observation = {"space": {"type": "box", "dtype": "float32", **space}, "fields": fields}
    return [json.loads(sample.body) for sample in generate_states(observation, 200, random.Random(0))]


def test_generate_states_fill_their_space() -> None:
    states = _values({"shape": [2], "low": [-4.8, 0.0], "high": [4.8, 1.0]})
    first = [state[0] for state in states]
    assert all(-4.8 < value < 4.8 for value in first)
    assert min(first) < -4.0
    assert max(first) > 4.0
    assert all(0.0 < state[1] < 1.0 for state in states)


@pytest.mark.parametrize("bound", [None, 3.4e38], ids=["none", "float32's largest"])
def test_generate_states_without_bound_are_small_numbers(bound: float | None) -> None:
    low = None if bound is None else -bound
    assert all(abs(state[0]) < 10 for state in _values({"shape": [1], "low": [low], "high": [bound]}))


def test_generate_states_half_open_space_keeps_bound() -> None:
    assert all(state[0] >= 0 for state in _values({"shape": [1], "low": [0], "high": [None]}))


def test_generate_states_with_fields_are_objects() -> None:
    states = _values({"shape": [2], "low": None, "high": None}, fields=["position", "velocity"])
    assert all(set(state) == {"position", "velocity"} for state in states)


def test_generate_states_integer_space_has_shape_and_whole_numbers() -> None:
    states = _values({"shape": [2, 3], "dtype": "uint8", "low": [[0] * 3] * 2, "high": 255})
    for state in states:
        assert [len(row) for row in state] == [3, 3]
        assert all(isinstance(value, int) and 0 <= value <= 255 for row in state for value in row)


def _part(size: int) -> dict[str, Any]:
    return {"type": "box", "shape": [size], "dtype": "float32", "low": [-1.0] * size, "high": None}


def test_generate_states_dict_space_has_exactly_its_parts() -> None:
    parts = [{"key": key, "space": _part(2)} for key in ("observation", "achieved_goal", "desired_goal")]
    for state in _values({"type": "dict", "spaces": parts}):
        assert set(state) == {"observation", "achieved_goal", "desired_goal"}
        assert all(len(values) == 2 and min(values) >= -1 for values in state.values())


def test_generate_states_part_called_instances_is_wrapped() -> None:
    states = _values({"type": "dict", "spaces": [{"key": "instances", "space": _part(1)}]})
    assert all(set(state) == {"observation"} and set(state["observation"]) == {"instances"} for state in states)


def test_generate_states_other_space_raises_with_setting() -> None:
    with pytest.raises(LoadError, match=r"stress\.inputs"):
        generate_states({"space": {"type": "discrete", "n": 3}}, 1, random.Random(0))


def test_generate_instances_lie_within_the_bounds_of_the_signature() -> None:
    columns = [{"name": "age", "low": 18, "high": 20}, {"name": "job", "categories": ["nurse", "pilot"]}]
    inputs = [{"name": "row", "datatype": "FP32", "shape": [2], "columns": columns}]
    outputs = [{"name": "y", "datatype": "FP32", "shape": []}]
    signature = {"batched": True, "inputs": inputs, "outputs": outputs}
    rows = [json.loads(each.body) for each in generate_instances(signature, 20, random.Random(0))]
    assert all(18 <= row["age"] <= 20 for row in rows)
    assert {row["job"] for row in rows} == {"nurse", "pilot"}
    assert generate_instances(signature, 20, random.Random(0)) == generate_instances(signature, 20, random.Random(0))


def test_generate_instances_unreadable_signature_is_one_line() -> None:
    with pytest.raises(LoadError, match="signature: inputs is missing; give a JSON file of instances"):
        generate_instances({}, 1, random.Random(0))
