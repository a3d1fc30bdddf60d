"""One table of request errors: code, OpenAPI document and documentation agree."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import errors
from errors import REQUEST_ERRORS, MarinaError, NoWorker, RequestError, WorkerLost, last_words
from gateway.openapi import responses

ROOT = Path(__file__).resolve().parent.parent


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        if child.__module__ in ("errors", "handlers.errors"):
            yield child
            yield from subclasses(child)


def test_request_errors_list_names_every_error_once() -> None:
    # The retry of a lost worker is internal: clients see its base.
    assert set(subclasses(RequestError)) - {WorkerLost} == set(REQUEST_ERRORS)
    assert (WorkerLost.status, WorkerLost.code) == (NoWorker.status, NoWorker.code)
    assert [error.status for error in REQUEST_ERRORS] == sorted(error.status for error in REQUEST_ERRORS)
    assert len({error.code for error in REQUEST_ERRORS}) == len(REQUEST_ERRORS)
    assert set(subclasses(MarinaError)) | {MarinaError} == {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)
    }


def test_workers_and_gateway_raise_the_same_classes() -> None:
    from handlers import errors as of_workers

    for name, error in vars(of_workers).items():
        if isinstance(error, type) and issubclass(error, MarinaError):
            assert getattr(errors, name) is error


def test_documentation_lists_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}[\d, ]*) \| (`[^|]+) \|", (ROOT / "docs" / "http.md").read_text(), re.MULTILINE)
    listed = {(int(status), code) for statuses, codes in rows for status in statuses.split(",") for code in
              re.findall(r"`(\w+)`", codes)}  # fmt: skip
    assert {(error.status, error.code) for error in REQUEST_ERRORS} - listed == set()


@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_openapi_example_of_a_status_is_one_of_its_errors(error: type[RequestError]) -> None:
    documented = responses({}, error.status)[error.status]
    code = documented["content"]["application/json"]["example"]["error"]
    described = {(each.code, each.summary) for each in REQUEST_ERRORS if each.status == error.status}
    assert (code, documented["description"]) in described


@pytest.mark.parametrize(
    ("output", "status", "words"),
    [
        ("a\nerror: no room\n", 1, "no room"),
        ("", -9, "it was killed, as Linux does when memory runs out"),
        (" \n", -11, "it ended by signal 11"),
        ("", 3, "it printed nothing and ended with status 3"),
    ],
)
def test_last_words_of_a_program_that_failed(output: str, status: int, words: str) -> None:
    assert last_words(output, status) == words
