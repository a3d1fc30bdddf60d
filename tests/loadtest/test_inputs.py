import json
from pathlib import Path

import pytest

from errors import ConfigError
from loadtest.inputs import from_path


def test_a_folder_gives_its_pictures_in_order_with_their_types(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("b.PNG", "a.jpg", "below/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    samples = from_path(tmp_path, most=10)
    assert [(sample.content_type, sample.body) for sample in samples] == [
        ("image/jpeg", b"a.jpg"),
        ("image/png", b"b.PNG"),
        ("image/webp", b"below/c.webp"),
    ]


def test_no_more_pictures_are_read_than_are_sent(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert len(from_path(tmp_path, most=3)) == 3


def test_one_picture_is_enough(tmp_path: Path) -> None:
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
def test_a_json_file_gives_one_request_for_each_state(tmp_path: Path, content: object, bodies: list[object]) -> None:
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
def test_what_cannot_be_sent_is_said_in_one_line(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        from_path(tmp_path / name, most=10)
    assert "\n" not in str(refused.value)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ConfigError, match="no picture in"):
        from_path(tmp_path, most=10)
