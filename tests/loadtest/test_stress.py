import asyncio
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loadtest import gateway_server as fake
from tests.loadtest.gateway_server import Answer, gateway
from tests.polling import WAIT_S
from tests.ports import free_port

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "stress.clients=4",
    "stress.requests=20",
    "stress.rounds=3",
    "stress.warmup=4",
    "stress.picture_size=[16,16]",
    "stress.reports=null",
)


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "stress.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _finish(process: asyncio.subprocess.Process) -> Finished:
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


async def _stress(*arguments: str, script: Callable[[int], Answer] = lambda _: fake.right) -> Finished:
    async with gateway(script) as served:
        return await _finish(await _start(f"stress.url={served.url}", *SMALL, *arguments))


async def test_stress_prints_rounds_summary_and_advice() -> None:
    ran = await _stress("served_model=digits")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    rounds = [line for line in lines if line.startswith("Performance: ") and "±" not in line]
    assert len(rounds) == 3
    assert all(float(line.removeprefix("Performance: ").removesuffix(" imgs/s")) > 0 for line in rounds)
    assert sum("±" in line and line.endswith("imgs/s over 3 rounds") for line in lines) == 1
    assert any(line.startswith("Latency: p50 ") for line in lines)
    assert "Errors: none in 60 requests" in lines
    assert lines[-2].startswith("  make upload_model MODEL=digits ARGS=")
    assert "served_model.request_params.batch_size=" in lines[-2]
    assert "served_model.request_params.max_batch_delay=" in lines[-2]
    assert lines[-1].startswith("  make run_stress MODEL=digits ARGS=")
    assert "stress.clients=4" in lines[-1]


async def test_stress_policy_is_counted_in_states() -> None:
    ran = await _stress("served_model=cartpole")
    assert ran.status == 0
    assert "states/s" in ran.out


async def test_stress_random_weights_are_printed_first() -> None:
    ran = await _stress("served_model=weather")
    assert ran.out.index("weights: random") < ran.out.index("Performance:")


async def test_stress_failure_sets_exit_status() -> None:
    ran = await _stress(script=lambda number: fake.no_worker if number == 30 else fake.right)
    assert ran.status == 1
    assert "Errors: 1 of 60 requests" in ran.out
    assert "1  503 no_worker" in ran.out


async def test_stress_writes_json_report(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "run.json"
    ran = await _stress(f"stress.report={path}", script=lambda number: fake.closed if number == 30 else fake.right)
    report = json.loads(path.read_text())
    assert ran.status == 1
    assert report["failed"] is True
    assert report["errors"] == {"connection closed without an answer": 1}
    assert [one["items"] for one in report["rounds"]] == [20, 19, 20]
    assert report["targets"][0]["model"] == "digits"
    assert report["latency_ms"]["max"] >= report["latency_ms"]["p50"] > 0
    assert report["next"]["batch_size"] > 0
    assert "1 of 60 requests failed" in path.with_suffix(".html").read_text()


async def test_stress_sends_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"first")
    (tmp_path / "two.png").write_bytes(b"second")
    async with gateway() as served:
        ran = await _finish(await _start(f"stress.url={served.url}", *SMALL, f"stress.inputs={tmp_path}"))
    assert ran.status == 0
    assert set(served.bodies) == {("image/png", b"first"), ("image/png", b"second")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stress.clients=0",), "stress.clients"),
        (("stress.inputs=/no/such/folder",), "No such file"),
        (("stress.environment=NoSuchGame-v0", "served_model=cartpole"), "stress.environment"),
        (("stress.environment=CartPole-v1", "served_model=digits"), "only policies play"),
        (("stress.environment=CartPole-v1", "stress.rate=5"), "cannot send at a rate"),
        (("stress.mix={digits: 1, nothing: 1}",), "serves no model 'nothing'"),
        (("stress.rate=0",), "stress.rate"),
        (("stress.reports=/proc/none",), "stress.reports"),
        (("served_model=imagenet_resnet18",), "serves no model 'imagenet_resnet18'"),
        (("stress.report=/proc/none/report.json",), "stress.report"),
        (("served_model=cartpole", "stress.inputs=tests"), "no picture in"),
    ],
)
async def test_stress_bad_settings_print_one_line_before_load(arguments: tuple[str, ...], words: str) -> None:
    async with gateway() as served:
        ran = await _finish(await _start(f"stress.url={served.url}", *SMALL, *arguments))
    assert (ran.status, ran.out, served.bodies) == (1, "", [])
    assert ran.err.startswith("stress: ")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


async def test_stress_own_gateway_gets_api_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("marina_k\n")
    async with gateway(key="marina_k") as served:
        own = f"gateway.port={served.url.rpartition(':')[2]}"
        with_key = await _finish(await _start(own, *SMALL, f"gateway.api_key_file={tmp_path / 'key'}"))
        asked = len(served.bodies)
        without = await _finish(await _start(own, *SMALL))
    assert with_key.status == 0
    assert "Errors: none in 60 requests" in with_key.out
    # This one has no figures, which is said and is no zero.
    assert "Warning: not known from the servers' figures: " in with_key.out
    assert "/metrics answers 404" in with_key.out
    assert (without.status, without.out, len(served.bodies)) == (1, "", asked)
    assert "answers 401: set MARINA_API_KEY_FILE or MARINA_API_KEY" in without.err


async def test_stress_other_gateway_gets_no_api_key() -> None:
    async with gateway(key="marina_k") as served:
        ran = await _finish(await _start(f"stress.url={served.url}", *SMALL, "gateway.api_key=marina_k"))
        assert (ran.status, served.bodies) == (1, [])


async def test_stress_without_gateway_names_make_up() -> None:
    port = free_port()
    ran = await _finish(await _start(f"stress.url=http://127.0.0.1:{port}", "stress.reports=null"))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"stress: no gateway at http://127.0.0.1:{port}: connection refused; `make up` starts one\n"


async def test_stress_ctrl_c_reports_measured_part(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    async with gateway(lambda number: fake.right if number < 40 else fake.never) as served:
        process = await _start(f"stress.url={served.url}", *SMALL, f"stress.report={path}")
        async with asyncio.timeout(WAIT_S):
            while len(served.bodies) < 44:
                served.seen.clear()
                await served.seen.wait()
        process.send_signal(signal.SIGINT)
        ran = await _finish(process)
    assert (ran.status, ran.err) == (130, "")
    assert "(broken off)" in ran.out
    assert "imgs/s over 1 round\n" in ran.out
    assert "Errors: none in 36 requests" in ran.out
    assert json.loads(path.read_text())["interrupted"] is True
    assert "run.json (partial: the run was interrupted)" in ran.out
    assert "Partial report" in path.with_suffix(".html").read_text()


async def test_stress_ctrl_c_before_first_answer_prints_no_figures() -> None:
    async with gateway(lambda _: fake.never) as served:
        process = await _start(f"stress.url={served.url}", *SMALL)
        async with asyncio.timeout(WAIT_S):
            await served.seen.wait()
        process.send_signal(signal.SIGINT)
        ran = await _finish(process)
    assert (ran.status, ran.err) == (130, "")
    assert "Performance:" not in ran.out
