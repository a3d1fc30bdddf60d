"""Explanations of an adopted archive, by TorchServe's own handler with captum, through the gateway."""

import io
from pathlib import Path

import numpy as np
import pytest
import requests
from captum.attr import IntegratedGradients
from PIL import Image
from torchvision import transforms

from tests.archive.foreign_archives import samples
from tests.e2e import foreign_models as sources
from tests.e2e.adoption_home import Home
from tests.e2e.conftest import Stack
from tests.e2e.foreign_cases import CASES, network, png
from tests.e2e.uploads import QUICK

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
AS_IMAGE_CLASSIFIER = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)


@pytest.mark.e2e
@pytest.mark.slow
def test_handler_of_torchserve_explains_a_picture_as_captum_does(stack: Stack, tmp_path: Path) -> None:
    home = Home(stack, tmp_path / "home")
    pictures = samples(tmp_path / "samples", picture__png=png())
    archive = next(case for case in CASES if case.name == "classifier").make(tmp_path)
    home.stack.run("-m", "delivery", "adopt", str(archive), str(pictures), "trust=yes")
    try:
        home.stack.run("upload_model.py", "served_model=classifier", *QUICK)
        url = f"{home.stack.gateway}/explanations/classifier"
        found = requests.post(url, data=png(), headers={"Content-Type": "image/png"}, timeout=120)
        assert found.status_code == 200, found.text
        with Image.open(io.BytesIO(png())) as picture:
            pixels = AS_IMAGE_CLASSIFIER(picture).unsqueeze(0)
        expected = IntegratedGradients(network(sources.CLASSIFIER)).attribute(pixels, target=0, n_steps=15)
        assert expected.abs().max() > 1e-5
        np.testing.assert_allclose(found.json(), expected[0].detach(), rtol=1e-3, atol=1e-7)
    finally:
        home.remove("classifier")
