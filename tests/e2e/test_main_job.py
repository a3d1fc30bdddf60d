"""The main job through HTTP: both demo models answer rightly, and bad requests harm nobody but themselves."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium
import pytest
import requests
from PIL import Image

from settings import load
from settings.load import ROOT
from settings.schema import TorchServeSettings
from tests.docker import dockerfile
from tests.e2e.conftest import ENGINE, PORTS, Stack, left_running, unseen_digits

pytestmark = pytest.mark.e2e
FIELDS = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")


def play(seed: int, url: str) -> float:
    """The return of one episode of CartPole-v1 in which every action comes through HTTP."""
    environment = gymnasium.make("CartPole-v1")
    state, _ = environment.reset(seed=seed)
    total, over = 0.0, False
    with requests.Session() as session:
        while not over:
            answer = session.post(url, json=dict(zip(FIELDS, map(float, state), strict=True)), timeout=30)
            assert answer.status_code == 200, answer.text
            state, reward, terminated, truncated, _ = environment.step(answer.json()["action"])
            total, over = total + float(reward), terminated or truncated
    environment.close()
    return total


def test_the_served_policy_holds_the_pole(stack: Stack) -> None:
    with ThreadPoolExecutor(20) as pool:
        returns = list(pool.map(lambda seed: play(seed, f"{stack.gateway}/predict"), range(1000, 1020)))
    assert len(returns) == 20
    assert sum(returns) / 20 >= 475


def test_digits_never_seen_in_training_are_classified(stack: Stack) -> None:
    pictures, labels = unseen_digits()
    url = f"{stack.gateway}/models/digits/predict"

    def ask(picture: bytes) -> str:
        answer = requests.post(url, data=picture, headers={"Content-Type": "image/png"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["predictions"][0]["label"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, pictures))
    right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
    assert len(labels) >= 300
    assert right / len(labels) >= 0.97


def test_no_worker_of_an_onnx_archive_has_loaded_torch(stack: Stack) -> None:
    workers = [process for process in left_running(stack) if ENGINE.worker_program in " ".join(process.cmdline())]
    assert len(workers) >= 2
    for worker in workers:
        mapped = {Path(region.path).name for region in worker.memory_maps()}
        assert any(name.startswith("onnxruntime") for name in mapped)
        assert [name for name in mapped if "torch" in name] == []


def test_a_corrupt_picture_inside_a_full_batch_gets_400_and_its_neighbours_their_answers(stack: Stack) -> None:
    pictures, labels = unseen_digits()
    chosen, corrupt = pictures[:8], 3
    chosen[corrupt] = chosen[corrupt][:60]
    params = "served_model.request_params"
    # Eight requests that the one worker waits a second for come in one batch.
    stack.run("upload_model.py", f"{params}.batch_size=8", f"{params}.max_batch_delay=1000")
    try:

        def ask(picture: bytes) -> requests.Response:
            headers = {"Content-Type": "image/png"}
            return requests.post(f"{stack.gateway}/models/digits/predict", data=picture, headers=headers, timeout=30)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, chosen))
    finally:
        stack.run("upload_model.py")
    assert [answer.status_code for answer in answers] == [400 if i == corrupt else 200 for i in range(8)]
    refused = answers.pop(corrupt).json()
    assert refused["error"] == "unreadable_input"
    assert set(refused) == {"error", "detail", "request_id"}
    found = [answer.json()["predictions"][0]["label"] for answer in answers]
    assert found == [label for i, label in enumerate(labels[:8]) if i != corrupt]


def test_the_short_routes_answer_as_the_reference_systems_do(stack: Stack) -> None:
    pictures, labels = unseen_digits()
    files = {"image": ("digit.png", pictures[0], "image/png")}
    probabilities = requests.post(f"{stack.gateway}/predict_proba", files=files, timeout=30).json()
    assert max(probabilities, key=probabilities.__getitem__) == labels[0]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
    classified = requests.post(f"{stack.gateway}/classify", files={"any": pictures[0]}, timeout=30).json()
    assert classified["status"] == "success"
    assert classified["prediction"]["label"] == labels[0]


@pytest.mark.parametrize("form", ["JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_every_kind_of_picture_is_read(stack: Stack, form: str) -> None:
    pictures, labels = unseen_digits()
    converted = io.BytesIO()
    Image.open(io.BytesIO(pictures[1])).convert("L").save(converted, form, quality=95)
    headers = {"Content-Type": f"image/{form.lower()}"}
    answer = requests.post(
        f"{stack.gateway}/models/digits/predict", data=converted.getvalue(), headers=headers, timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] == labels[1]


def test_many_states_in_one_request_get_an_action_each(stack: Stack) -> None:
    states = [[0.0, 0.0, 0.1, 0.5], [0.0, 0.0, -0.1, -0.5]]
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=states, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "model": "cartpole",
        "version": answer.json()["version"],
        "predictions": [{"action": 1}, {"action": 0}],
    }


def test_actions_are_drawn_when_that_is_asked_for_and_a_seed_gives_them_again(stack: Stack) -> None:
    url = f"{stack.gateway}/models/cartpole/predict"
    # From falling left to falling right: somewhere between, a trained policy is not sure.
    states = [dict.fromkeys(FIELDS, 0.0) | {"pole_angle": number / 1000} for number in range(-200, 200)]

    def drawn(**options: object) -> list[dict[str, int]]:
        answer = requests.post(url, json={"instances": states, **options}, timeout=30)
        assert answer.status_code == 200, answer.text
        predictions: list[dict[str, int]] = answer.json()["predictions"]
        return predictions

    with ThreadPoolExecutor(8) as pool:
        same = list(pool.map(lambda _: drawn(deterministic=False, seed=7), range(8)))
    assert all(each == same[0] for each in same)
    assert drawn(deterministic=False, seed=8) != same[0]
    assert drawn(deterministic=False) != drawn(deterministic=False)
    assert drawn() == drawn(deterministic=True)
    one = {"observation": states[0], "deterministic": False, "seed": 7}
    short = requests.post(f"{stack.gateway}/predict", json=one, timeout=30)
    assert short.json() == {"action": same[0][0]["action"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/models/nobody/predict", b"{}", 404, "unknown_model"),
        ("/models/cartpole/versions/77.0/predict", b"[0,0,0,0]", 404, "unknown_model"),
        ("/predict", b"{", 400, "unreadable_input"),
        ("/predict", b'{"cart_position": 0}', 422, "invalid_fields"),
        ("/predict", b"[0,0,0]", 422, "invalid_fields"),
        ("/predict", b"[0,0,9,0]", 422, "invalid_fields"),
    ],
)
def test_a_bad_request_gets_its_own_status(stack: Stack, path: str, body: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": "mine"}
    answer = requests.post(f"{stack.gateway}{path}", data=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == "mine"


@pytest.mark.parametrize(("moment", "status"), [("1", 504), ("9999999999999", 200), ("soon", 200)])
def test_a_worker_drops_what_is_too_late_when_its_turn_comes(stack: Stack, moment: str, status: int) -> None:
    key = json.loads(stack.key_file.read_text())["inference"]["key"]
    url = f"http://127.0.0.1:{stack.env['MARINA_INFERENCE_PORT']}/predictions/cartpole"
    headers = {"Authorization": f"Bearer {key}", "X-Deadline-At": moment}
    answer = requests.post(url, json=[0, 0, 0.1, 0.5], headers=headers, timeout=30)
    assert answer.status_code == status, answer.text
    assert answer.json().get("error") == ("deadline_passed" if status == 504 else None)


@pytest.mark.torchserve(reason="it is TorchServe's image")
def test_the_health_check_of_the_engines_image_holds_while_it_answers_and_fails_when_nobody_does(stack: Stack) -> None:
    check = dockerfile.read(ROOT / "docker" / "Dockerfile.torchserve").all("HEALTHCHECK")[0].rest.partition("CMD ")[2]
    command = [sys.executable, *json.loads(check)[1:]]
    for port, healthy in ((stack.env["MARINA_INFERENCE_PORT"], True), ("1", False)):
        address = f"http://127.0.0.1:{port}"
        env = {"TS_INFERENCE_ADDRESS": address, "TS_MANAGEMENT_ADDRESS": address}
        done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=30)
        assert (done.returncode == 0) is healthy, done.stderr


def test_models_are_described_and_nothing_of_the_engine_is_told(stack: Stack) -> None:
    answer = requests.get(f"{stack.gateway}/models/digits", timeout=30)
    assert answer.status_code == 200
    assert "8080" not in answer.text
    assert stack.env["MARINA_INFERENCE_PORT"] not in answer.text
    assert stack.env["MARINA_MANAGEMENT_PORT"] not in answer.text
    assert '"labels"' in answer.text
    names = requests.get(f"{stack.gateway}/models", timeout=30).text
    assert "digits" in names
    assert "cartpole" in names


def test_the_load_test_runs_against_the_stack_and_counts_no_error(stack: Stack) -> None:
    printed = stack.run("stress.py", "stress.rounds=2", "stress.requests=40", "stress.clients=4")
    assert printed.count("Performance: ") >= 2
    assert "imgs/s" in printed
    for word in ("forward", "full", f"{ENGINE.part} workers", "Load generator: at most"):
        assert word in printed
    reports = {path.suffix for path in Path(stack.env["MARINA_REPORTS"]).glob("digits-*")}
    assert reports == {".json", ".html"}
    mixed = "stress.mix={digits: 0.5, cartpole: 0.5}"
    printed = stack.run("stress.py", mixed, "stress.rate=60", "stress.rounds=1", "stress.requests=40")
    assert "Errors: none in 40 requests" in printed
    assert "answers/s" in printed


def test_a_trained_policy_plays_its_environment_through_the_stack(stack: Stack) -> None:
    played = ("served_model=cartpole", "stress.environment=CartPole-v1", "stress.clients=2")
    printed = stack.run("stress.py", *played, "stress.rounds=1", "stress.requests=1100", "stress.reports=null")
    assert "Errors: none in 1100 requests" in printed
    # An untrained one falls within some twenty steps.
    assert "Played: 2 episodes, return 500.0" in printed


def test_the_prediction_of_the_demo_prints_answers_and_addresses(stack: Stack) -> None:
    printed = stack.run("-m", "demo", "predict")
    for word in (f"{stack.gateway}/docs", stack.files, "predictions", "action"):
        assert word in printed


@pytest.mark.torchserve(reason="its ports")
def test_default_settings_name_the_ports_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)
    settings = load(["store=nginx"])
    engine = settings.engine
    assert isinstance(engine, TorchServeSettings)
    assert (settings.gateway.port, settings.gateway.grpc_port) == (5003, 5004)
    assert settings.store.name == "nginx"
    assert settings.store.port == 5002
    assert (engine.inference_port, engine.management_port, engine.metrics_port) == (8080, 8081, 8082)
    assert (engine.grpc_inference_port, engine.grpc_management_port) == (7070, 7071)
