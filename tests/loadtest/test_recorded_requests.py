"""Load on an adopted archive: the samples that it was adopted with, or whole requests of a folder."""

import json
from pathlib import Path

import pytest

from errors import ArchiveError, LoadError
from loadtest.inputs import RequestSample
from loadtest.plan import make_plan
from loadtest.target import LoadTarget, parse_target
from settings import load
from settings.schema import StressSettings
from tests.archive.foreign_archives import samples
from tests.archive.made import CONTENTS, archive_at

TARGET = LoadTarget("http://gateway", "toy", "1.0", "adopted", "adopted", None, None)
GOLDEN = {
    "tolerance": 0,
    "samples": [
        {"content_type": "text/plain", "body": "aGk=", "predictions": [{"answer": {"status": 200}}]},
        {
            "content_type": "image/png",
            "body": "aG8=",
            "headers": {"x-who": "me"},
            "predictions": [{"answer": {"status": 404}}],
        },
    ],
}


def stress(**changes: object) -> StressSettings:
    return load().stress.model_copy(update=changes)


def test_samples_of_the_archive_are_sent_with_their_headers_and_statuses(tmp_path: Path) -> None:
    archive_at(tmp_path / "toy.mar", {**CONTENTS, "golden.json": json.dumps(GOLDEN).encode()})
    plan = make_plan(stress(), [TARGET], tmp_path)
    assert plan.samples == (
        RequestSample("sample-0", "text/plain", b"hi", status=200),
        RequestSample("sample-1", "image/png", b"ho", headers={"x-who": "me"}, status=404),
    )
    assert (plan.source, plan.unit) == ("the 2 samples that it was adopted with", "answers")


def test_folder_of_samples_takes_their_place(tmp_path: Path) -> None:
    folder = samples(tmp_path, a__json=b"{}", b__bin=b"1", b__bin__type=b"x/y")
    plan = make_plan(stress(inputs=str(folder)), [TARGET])
    assert plan.samples == (
        RequestSample("a.json", "application/json", b"{}", status=200),
        RequestSample("b.bin", "x/y", b"1", status=200),
    )


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"toy\.mar: No such file"):
        make_plan(stress(), [TARGET], tmp_path)
    with pytest.raises(LoadError, match=r"toy is not on this machine; give a folder of samples as stress\.inputs"):
        make_plan(stress(), [TARGET])


def test_target_may_be_an_adopted_archive() -> None:
    described = {"versions": [{"version": "1.0", "default": True, "kind": "adopted", "weights": "adopted"}]}
    assert parse_target("http://gateway", "toy", described).kind == "adopted"
