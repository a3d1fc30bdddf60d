"""Samples are whole request bodies, with their content types and headers beside them."""

from pathlib import Path

import pytest

from archive.sample_requests import read_samples
from errors import ConfigError
from tests.archive.foreign_archives import samples


def test_content_type_is_that_of_the_suffix_or_of_the_file_beside(tmp_path: Path) -> None:
    folder = samples(tmp_path, a__jpg=b"1", b__json=b"2", c__txt=b"3", d__wav=b"4", e=b"5", f__bin=b"6", g__html=b"7")
    (folder / "f.bin.type").write_text("multipart/form-data; boundary=B\n")
    (folder / "inner").mkdir()
    (folder / "inner" / "h.png").write_bytes(b"8")
    (folder / ".hidden").write_bytes(b"9")
    found = {sample.name: sample.content_type for sample in read_samples(folder)}
    assert found == {
        "a.jpg": "image/jpeg",
        "b.json": "application/json",
        "c.txt": "text/plain",
        "d.wav": "audio/wav",
        "e": "application/octet-stream",
        "f.bin": "multipart/form-data; boundary=B",
        "g.html": "text/html",
        "h.png": "image/png",
    }


def test_further_headers_are_read_from_the_file_beside(tmp_path: Path) -> None:
    folder = samples(tmp_path, a__txt=b"1", a__txt__headers=b"X-Who: me\n\nAccept-Language: de\n")
    [sample] = read_samples(folder)
    assert sample.headers == {"x-who": "me", "accept-language": "de"}
    assert read_samples(folder / "a.txt") == (sample,)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "holds no sample"),
        ({"a__txt": b""}, "is empty"),
        ({"a__txt": b"1", "a__txt__type": b"text/plain\nx: y\n"}, "one line of printable ASCII"),
        ({"a__txt": b"1", "a__txt__headers": b"no colon"}, "is not a header like"),
        ({"a__txt": b"1", "a__txt__type": b"\xff"}, "is not text"),
    ],
    ids=["none", "empty", "two lines", "no header", "no text"],
)
def test_unusable_sample_is_named(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_samples(samples(tmp_path / "samples", **files))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        read_samples(tmp_path / "nowhere")
