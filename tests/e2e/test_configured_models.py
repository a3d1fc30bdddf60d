"""The three models whose weights are the user's: the whole path with random ones, named so wherever they answer."""

import base64
import io

import pytest
import requests
from PIL import Image

from delivery.rollout import remove
from settings import load
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e


def picture() -> bytes:
    body = io.BytesIO()
    Image.linear_gradient("L").resize((320, 200)).convert("RGB").save(body, "JPEG")
    return body.getvalue()


@pytest.mark.parametrize(
    ("model", "classes", "listed", "example"),
    [
        ("genre_classifier", 24, 24, "Sci-Fi"),
        pytest.param("weather", 11, 11, "sandstorm", marks=pytest.mark.slow),
        pytest.param("imagenet_resnet18", 1000, 5, "tabby", marks=pytest.mark.slow),
    ],
)
def test_a_model_without_weights_is_refused_and_with_random_ones_named_random(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, model: str, classes: int, listed: int, example: str
) -> None:
    chosen = f"served_model={model}"
    refused = stack.run("-m", "serialize", chosen, "paths.weights=/nonexistent", status=1)
    assert f"error: {model}: no weights at /nonexistent/{model}.pt" in refused
    assert "random weights" in stack.run("-m", "serialize", chosen, "served_model.weights=random")
    stack.run("upload_model.py", chosen)
    try:
        described = requests.get(f"{stack.gateway}/models/{model}", timeout=30).json()
        [version] = described["versions"]
        assert version["weights"] == "random"
        assert len(version["labels"]) == classes
        assert example in version["labels"]
        body = {"image": base64.b64encode(picture()).decode()}
        answer = requests.post(f"{stack.gateway}/models/{model}/predict", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["weights"] == "random"
        [prediction] = answer.json()["predictions"]
        assert len(prediction["probabilities"]) == listed
        assert set(prediction["probabilities"]) <= set(version["labels"])
    finally:
        stack.use(monkeypatch)
        remove(model, load())
        for archive in stack.archives.glob(f"{model}*"):
            archive.unlink()
