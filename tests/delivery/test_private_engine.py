"""The handler of an adopted archive answers in a process of its own, as engine=ray runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import settings
from archive import UnpackLimits, sealed
from archive.adopted import adopted_files, adopted_manifest
from archive.foreign import read_foreign
from delivery.private_engine import PrivateArchive, _end, private_handler, reason_in_log
from engines.engine_profile import PredictionInput
from errors import EngineError, RolloutError
from tests.archive.foreign_archives import PARROT, parrot
from tests.polling import ended, wait_for


def draft(tmp_path: Path, text: str = PARROT) -> PrivateArchive:
    foreign = read_foreign(parrot(tmp_path / "theirs", text), UnpackLimits())
    files = adopted_files(foreign, {"request_params": {}}, {}, {})
    return PrivateArchive("parrot", "1.0", sealed(files, adopted_manifest(foreign, "parrot", "1.0", files)))


def folder(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return tmp_path / "private"


def asked(content: object) -> PredictionInput:
    return PredictionInput(json.dumps(content).encode(), "application/json", {"x-who": "me"})


def test_worker_answers_with_status_and_headers_whatever_the_handler_prints(tmp_path: Path) -> None:
    printing = PARROT.replace("    time.sleep", "    print('chatter')\n    time.sleep")
    ray = settings.load(["engine=ray"])
    with private_handler(draft(tmp_path, printing), ray, (), folder(tmp_path)) as ask:
        said = ask(asked({"say": [1]}))
        assert (said.status, json.loads(said.body)) == (200, [1])
        assert said.worker is not None
        odd = ask(asked({"status": 418}))
        assert (odd.status, odd.body, odd.headers["x-mood"]) == (418, b"short and stout", "stout")
        assert json.loads(ask(asked({"header": "X-Who"})).body) == ["me", "me"]
        failed = ask(asked({"fail": 1}))
        assert (failed.status, failed.worker) == (503, None)
    assert "ValueError: the parrot fails" in reason_in_log(tmp_path / "private")


def test_handler_that_does_not_load_is_named_with_its_error(tmp_path: Path) -> None:
    ray, broken = settings.load(["engine=ray"]), draft(tmp_path, "import no_such_package\n")
    reason = "the handler does not load: ModuleNotFoundError: No module named 'no_such_package'"
    with pytest.raises(EngineError, match=reason), private_handler(broken, ray, (), folder(tmp_path)):
        pass


def test_torchserve_that_starts_too_slowly_is_named_with_its_setting(tmp_path: Path) -> None:
    """Its process needs longer than that to import anything."""
    words = ("engine.start_timeout_s=0.05",)
    private = private_handler(draft(tmp_path), settings.load(words), words, folder(tmp_path))
    reason = r"TorchServe did not start within 0\.05 s \(engine\.start_timeout_s\)"
    with pytest.raises(RolloutError, match=reason), private:
        pass


def test_handler_that_hangs_is_ended(tmp_path: Path) -> None:
    ray = settings.load(["engine=ray", "engine.response_timeout_s=1"])
    private = private_handler(draft(tmp_path), ray, (), folder(tmp_path))
    with private as ask, pytest.raises(EngineError, match="the handler's process ended: no answer in 1 s"):
        ask(asked({"sleep": 60}))


def test_handler_whose_process_ends_is_named(tmp_path: Path) -> None:
    ending = PARROT.replace("import json\n", "import json\nimport os\n", 1).replace("    time.sleep", "    os._exit(3)")
    private = private_handler(draft(tmp_path, ending), settings.load(["engine=ray"]), (), folder(tmp_path))
    with private as ask, pytest.raises(EngineError, match="the handler's process ended"):
        ask(asked({"say": 1}))


def test_engine_that_does_not_end_is_killed_with_all_that_it_started(caplog: pytest.LogCaptureFixture) -> None:
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    child = f"{deaf} print('ready', flush=True); time.sleep(300)"
    start = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True);"
    command = [sys.executable, "-c", f"{deaf} {start} time.sleep(300)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        started = psutil.Process(process.pid).children()
        _end(process, timeout_s=0.5)
        assert process.returncode == -signal.SIGKILL
    assert len(started) == 1
    wait_for(lambda: all(map(ended, started)))
    assert "did not end within 0.5 s and is killed" in caplog.text


@pytest.mark.parametrize("ends", [False, True])
def test_process_that_the_handler_has_forked_does_not_keep_the_adoption_waiting(tmp_path: Path, ends: bool) -> None:
    forking = PARROT.replace("import json\n", "import json\nimport os\n", 1)
    forking = forking.replace("    time.sleep", "    if os.fork() == 0: time.sleep(300)\n    time.sleep")
    if ends:
        forking = forking.replace("    time.sleep(body", "    os._exit(3)\n    time.sleep(body")
    private = private_handler(
        draft(tmp_path, forking), settings.load(["engine=ray", "engine.response_timeout_s=1"]), (), folder(tmp_path)
    )
    with private as ask, pytest.raises(EngineError, match="the handler's process ended: no answer in 1 s"):
        ask(asked({"sleep": 60}))
