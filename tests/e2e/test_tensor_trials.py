"""A model of kind `tensors` goes the way of the others: canary, shadow, rollback and tuner, under load."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml
from sklearn.neural_network import MLPClassifier

from archive import write_zip
from deployments.traffic import TrafficFile
from settings import Settings, load
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.foreign_journey import foreign_stack
from tests.e2e.tampered import contents, summed
from tests.e2e.tensor_models import IRIS, MLP_YAML, write_mlp
from tests.e2e.trials import CANARY, LATER, LATER_THEN, SHADOW, report
from tests.e2e.uploads import DELAY, QUICK, registered

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CHOSEN = "served_model=iris"
HANDLER = "tensor_handler.py"


class Flowers:
    """A stack that serves scikit-learn's classifier of a table, and the classifier itself."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.file = folder / "iris.onnx"
        self.network, self.rows = write_mlp(self.file)
        model = Path(stack.env["MARINA_CONFIG"]) / "served_model" / "iris.yaml"
        model.write_text(MLP_YAML.format(checkpoint=self.file))
        stack.run("-m", "serialize", CHOSEN)
        stack.run("upload_model.py", CHOSEN, *QUICK)

    @property
    def url(self) -> str:
        return self.stack.predict_url("iris")

    def row(self, chance: random.Random) -> dict[str, float]:
        """A flower that nobody measured."""
        return {name: round(chance.uniform(0.1, 7.9), 3) for name in IRIS}

    def answers_as(self, network: MLPClassifier) -> bool:
        """Whether the gateway answers the whole table as this classifier does."""
        rows = [dict(zip(IRIS, values, strict=True)) for values in np.round(self.rows.astype(float), 1).tolist()[::3]]
        answer = requests.post(self.url, json={"instances": rows}, timeout=120)
        assert answer.status_code == 200, answer.text
        found = [each["outputs"]["probabilities"] for each in answer.json()["predictions"]]
        return np.allclose(found, network.predict_proba(self.rows[::3]), atol=1e-4)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowers]:
    with foreign_stack(load().engine.name, tmp_path_factory.mktemp("trials")) as stack:
        yield Flowers(stack, tmp_path_factory.mktemp("files"))


@pytest.fixture
def settings(flowers: Flowers, monkeypatch: pytest.MonkeyPatch) -> Settings:
    flowers.stack.use(monkeypatch)
    return load([CHOSEN], config=Path(flowers.stack.env["MARINA_CONFIG"]))


def test_a_canary_with_shadow_is_promoted_and_rolled_back(flowers: Flowers, settings: Settings) -> None:
    [before] = registered(settings, "iris")
    with asking(flowers.url, content=flowers.row) as answers:
        printed = flowers.stack.run("upload_model.py", CHOSEN, *CANARY, "shadow.share=0.5", f"{DELAY}=2")
        [after] = registered(settings, "iris")
        assert printed.splitlines()[-1] == f"iris {after.version} serves now"
        assert flowers.answers_as(flowers.network)
        flowers.stack.run("-m", "delivery", "rollback", CHOSEN, *QUICK)
    assert answers.statuses == {200}
    assert {answer.version for answer in answers.seen} == {before.version, after.version}
    evidence = report(settings, after.version, "iris")["evidence"]
    assert min(sum(evidence[side]["answers"].values()) for side in ("new", "old")) > 0
    assert evidence["compared"]["same"] > 0
    assert evidence["compared"]["differs"] == 0
    assert [each.version for each in registered(settings, "iris")] == [before.version]
    assert flowers.answers_as(flowers.network)


def test_a_shadow_with_other_weights_is_withdrawn_before_a_client_sees_it(flowers: Flowers, settings: Settings) -> None:
    [before] = registered(settings, "iris")
    good = flowers.file.read_bytes()
    network, _ = write_mlp(flowers.file, seed=1)
    try:
        flowers.stack.run("-m", "serialize", CHOSEN)
        with asking(flowers.url, content=flowers.row) as answers:
            printed = flowers.stack.run("upload_model.py", CHOSEN, *SHADOW, status=1)
    finally:
        flowers.file.write_bytes(good)
        flowers.stack.run("-m", "serialize", CHOSEN)
    last = printed.splitlines()[-1]
    assert "was withdrawn: " in last
    assert "answers differ" in last
    assert answers.kinds == {(200, before.version)}
    assert registered(settings, "iris") == [before]
    assert flowers.answers_as(flowers.network)
    assert not flowers.answers_as(network)


def test_a_canary_that_begins_to_fail_is_withdrawn_and_no_client_pays_for_it(
    flowers: Flowers, settings: Settings, tmp_path: Path
) -> None:
    [before] = registered(settings, "iris")
    files = contents(flowers.stack.archives / "iris.mar")
    later = LATER.replace(b"PolicyHandler", b"TensorHandler") % LATER_THEN["fails"].encode()
    write_zip(summed({**files, HANDLER: files[HANDLER] + later}), tmp_path / "iris.mar")
    changed = (f"paths.archives={tmp_path}", f"store.folder={flowers.stack.archives}")
    with asking(flowers.url, content=flowers.row) as answers:
        printed = flowers.stack.run("upload_model.py", CHOSEN, *CANARY, *changed, status=1)
    last = printed.splitlines()[-1]
    assert "was withdrawn: " in last
    assert "failed (5xx)" in last
    assert answers.statuses == {200}
    assert answers.seen[-1].version == before.version
    assert registered(settings, "iris") == [before]
    assert TrafficFile.of(settings).all() == {}


def test_the_tuner_rolls_its_choice_out_and_no_client_loses_a_request(flowers: Flowers, tmp_path: Path) -> None:
    file = tmp_path / "iris.tuned.yaml"
    trial = ("stress.clients=4", "stress.warmup=4", "tune.seconds=0.5", "tune.rounds=2", "tune.repeats=1")
    values = ("tune.workers=[1]", "tune.threads=[1]", "tune.batch_size=[2,8]", "tune.max_batch_delay=[0,5]")
    words = (CHOSEN, *trial, *values, "slo=p99:20s", "tune.minutes=3", f"tune.file={file}")
    with asking(flowers.url, content=flowers.row) as answers:
        printed = flowers.stack.run("-m", "loadtest.tune", *words, timeout_s=900)
    assert "Best: workers 1" in printed
    assert answers.statuses == {200}
    tuned: dict[str, Any] = yaml.safe_load(file.read_text())["request_params"]
    described = requests.get(f"{flowers.stack.gateway}/models/iris", timeout=30).json()
    [serving] = [each for each in described["versions"] if each["default"]]
    assert serving["batch"]["batch_size"] == tuned["batch_size"]
    assert serving["batch"]["max_batch_delay"] == tuned["max_batch_delay"]
    assert flowers.answers_as(flowers.network)
