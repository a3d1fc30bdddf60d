"""An adoption: what it shows before anything runs, how it records answers, and what it writes."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import settings
from archive import __main__ as archiving
from archive.sample_requests import SampleFile
from archive.signing import generate_keys
from delivery import __main__ as command
from delivery.adopt import carry_out, is_trusted, plan_adoption
from delivery.recorded_answers import record
from engines.engine_profile import PredictionInput, PredictionResponse
from errors import ArchiveError, ConfigError
from settings.load import CONFIG
from tests.archive.foreign_archives import PARROT, handler_file, make_archive, parrot, samples
from tests.archive.test_foreign import zipped

SAMPLE = SampleFile("one.json", "application/json", b"{}", {"x-who": "me"})


def loaded(tmp_path: Path) -> settings.Settings:
    return settings.load([f"paths.state={tmp_path / 'state'}", f"paths.archives={tmp_path / 'mars'}"])


def answering(bodies: Iterator[object], status: int = 200, worker: int | None = 7) -> Callable[..., PredictionResponse]:
    def ask(request: PredictionInput) -> PredictionResponse:
        assert request == PredictionInput(SAMPLE.body, SAMPLE.content_type, SAMPLE.headers)
        return PredictionResponse(
            status, json.dumps(next(bodies)).encode(), worker, {"x-run": str(next(COUNT)), "x-a": "b"}
        )

    return ask


COUNT = itertools.count()


def test_command_shows_the_archive_and_runs_nothing_without_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n{PARROT}"
    archive = parrot(tmp_path / "theirs", text)
    folder = samples(tmp_path / "samples", a__txt=b"1")
    words = [f"paths.state={tmp_path / 'state'}", f"paths.archives={tmp_path / 'mars'}"]
    assert command.main(["adopt", str(archive), str(folder), *words]) == 1
    shown = capsys.readouterr()
    assert "handler    parrot_handler.py (parrot_handler.py)" in shown.out
    assert "MAR-INF/MANIFEST.json" in shown.out
    assert "add trust=yes" in shown.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "mars").exists()
    assert not (CONFIG / "served_model" / "parrot.yaml").exists()


def test_signature_of_a_known_key_is_trusted_and_that_of_another_refused(tmp_path: Path) -> None:
    archive = parrot(tmp_path / "theirs")
    private, public = generate_keys(tmp_path / "known")
    other, _ = generate_keys(tmp_path / "other")
    signed = settings.load([f"paths.archives={tmp_path / 'mars'}", f"signing.public_key={public}"])
    plan = plan_adoption(archive, samples(tmp_path / "samples", a__txt=b"1"), signed)
    assert not is_trusted(plan, signed)
    assert archiving.main(["sign", str(archive), str(private)]) == 0
    assert is_trusted(plan, signed)
    assert not is_trusted(plan, loaded(tmp_path))
    assert archiving.main(["sign", str(archive), str(other)]) == 0
    with pytest.raises(ArchiveError, match=r"parrot\.mar\.ed25519: not a signature of parrot\.mar by a key of"):
        is_trusted(plan, signed)
    assert archiving.main(["sign", str(tmp_path / "none.mar"), str(private)]) == 1


def test_command_refuses_an_unknown_value_of_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["adopt", str(tmp_path), str(tmp_path), "trust=maybe"]) == 1
    assert "trust must be yes or no, not 'maybe'" in capsys.readouterr().err
    assert command.main(["adopt", str(tmp_path)]) == 2


def test_name_is_made_to_fit_or_given(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, "My-Model.v2", handler_file(tmp_path))
    folder = samples(tmp_path / "samples", a__txt=b"1")
    plan = plan_adoption(archive, folder, loaded(tmp_path))
    assert plan.name == "my_model_v2"
    assert "model      My-Model.v2 1.0, adopted as my_model_v2" in plan.lines
    assert plan_adoption(archive, folder, loaded(tmp_path), name="other").name == "other"
    with pytest.raises(ConfigError, match="'Other' is not a model's name here"):
        plan_adoption(archive, folder, loaded(tmp_path), name="Other")


def test_name_of_another_model_and_the_target_itself_are_refused(tmp_path: Path) -> None:
    folder = samples(tmp_path / "samples", a__txt=b"1")
    archive = parrot(tmp_path / "mars")
    with pytest.raises(ConfigError, match=r"digits\.yaml configures another model named digits; choose a name"):
        plan_adoption(archive, folder, loaded(tmp_path), name="digits")
    with pytest.raises(ConfigError, match="is the file that would be written; move it to another folder"):
        plan_adoption(archive, folder, loaded(tmp_path))


def test_archive_that_asks_for_packages_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("emoji==2.14.0\n")
    words = ("-r", tmp_path / "requirements.txt")
    archive = make_archive(tmp_path / "out", "parrot", handler_file(tmp_path), *words)
    folder = samples(tmp_path / "samples", a__txt=b"1")
    with pytest.raises(ArchiveError, match=r"asks for packages in requirements\.txt; engine\.requirements=allow packs"):
        plan_adoption(archive, folder, loaded(tmp_path))
    allowed = plan_adoption(archive, folder, settings.load(["engine.requirements=allow"]), config=tmp_path)
    assert "package    emoji==2.14.0" in allowed.lines


def test_answers_and_common_headers_are_recorded_with_the_tolerance_of_the_runs() -> None:
    found = record(answering(itertools.cycle([[1.0], [1.0005]])), [SAMPLE], compared=True)
    [entry] = found["samples"]
    assert entry["predictions"] == [{"answer": {"status": 200, "headers": {"x-a": "b"}, "json": [1.0]}}]
    assert (entry["body"], entry["headers"]) == ("e30=", {"x-who": "me"})
    assert found["tolerance"] == pytest.approx(0.002, rel=1e-2)


def test_answers_that_are_always_equal_get_the_tolerance_of_another_machine() -> None:
    assert record(answering(itertools.repeat([1])), [SAMPLE], compared=True)["tolerance"] == 1e-4


@pytest.mark.parametrize(
    "bodies",
    [
        itertools.count(),
        itertools.count(1_790_000_000),
        map(str, itertools.count()),
        ([0.01 * n] for n in itertools.count()),
    ],
)
def test_handler_that_draws_or_tells_the_time_is_named(bodies: Iterator[object]) -> None:
    with pytest.raises(ArchiveError, match=r"sample one\.json: its answers differ from run to run: .* golden=none"):
        record(answering(bodies), [SAMPLE], compared=True)


def test_without_golden_answers_only_the_status_is_recorded() -> None:
    found = record(answering(itertools.count(), status=404), [SAMPLE], compared=False)
    assert found["samples"][0]["predictions"] == [{"answer": {"status": 404}}]


@pytest.mark.parametrize(("status", "worker"), [(503, None), (500, 7), (200, None)])
def test_handler_that_fails_on_a_sample_is_not_adopted(status: int, worker: int | None) -> None:
    with pytest.raises(ArchiveError, match=rf"sample one\.json: the handler fails with {status}: 1"):
        record(answering(itertools.repeat(1), status, worker), [SAMPLE], compared=True)


def test_failure_of_a_handler_is_said_in_one_line() -> None:
    body = b'{\n  "code": 503,\n  "message": "Prediction failed"\n}\n'
    with pytest.raises(ArchiveError, match=r'fails with 503: \{ "code": 503, "message": "Prediction failed" \}$'):
        record(lambda _: PredictionResponse(503, body, None), [SAMPLE], compared=True)


def test_too_many_bytes_are_refused() -> None:
    large = SampleFile("large.bin", "application/octet-stream", bytes(33 * 2**20))
    with pytest.raises(ArchiveError, match=r"hold more than 33554432 bytes at large\.bin; give fewer"):
        record(lambda _: PredictionResponse(200, b"1", 7), [large], compared=True)


def test_description_sends_a_terminal_no_commands(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "toy.mar", {"handler": "toy.py:f\x1b[2J\nmodel      harmless"})
    plan = plan_adoption(archive, samples(tmp_path / "samples", a__txt=b"1"), settings.load([]), config=tmp_path)
    assert "handler    toy.py:f?[2J?model      harmless (toy.py)" in plan.lines
    assert all(line.isprintable() for line in plan.lines)


def test_signature_of_another_content_than_the_one_that_was_read_is_not_trusted(tmp_path: Path) -> None:
    archive = parrot(tmp_path / "theirs")
    private, public = generate_keys(tmp_path / "known")
    signed = settings.load([f"paths.archives={tmp_path / 'mars'}", f"signing.public_key={public}"])
    plan = plan_adoption(archive, samples(tmp_path / "samples", a__txt=b"1"), signed)
    parrot(tmp_path / "theirs", f"# signed\n{PARROT}")
    assert archiving.main(["sign", str(archive), str(private)]) == 0
    with pytest.raises(ArchiveError, match=r"parrot\.mar: has changed since it was read"):
        is_trusted(plan, signed)


def test_archive_that_deliveries_would_not_trust_replaces_nothing(tmp_path: Path) -> None:
    private, _ = generate_keys(tmp_path / "known")
    _, other = generate_keys(tmp_path / "other")
    keys = [f"signing.key={private}", f"signing.public_key={other}", "signing.required=true"]
    words = [f"paths.state={tmp_path / 'state'}", f"paths.archives={tmp_path / 'mars'}", "engine=ray", *keys]
    signed = settings.load(words)
    folder, config = samples(tmp_path / "samples", a__txt=b"1"), tmp_path / "config"
    plan = plan_adoption(parrot(tmp_path / "theirs"), folder, signed, config=config)
    target = tmp_path / "mars" / "parrot.mar"
    target.parent.mkdir()
    target.write_bytes(b"the one before")
    with pytest.raises(ArchiveError, match=rf"^{target}: its signature is not one of {other}$"):
        carry_out(plan, signed, words)
    assert target.read_bytes() == b"the one before"
    assert not config.exists()
