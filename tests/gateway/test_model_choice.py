"""Short routes whose configuration names no model: the only one that fits answers."""

import pytest
import requests

import settings
from errors import UnknownModel
from gateway.dialects import short_routes
from gateway.dialects.model_choice import OnlyModel
from gateway.examples import PICTURE
from gateway.model_card import ModelCard
from gateway.served_models import ServedModel, ServedVersion, Snapshot
from tests.gateway.engine import POLICY, VISION
from tests.gateway.given import CARDS, GivenTorchServe
from tests.gateway.served import gateway_for

SIGMOID: ModelCard = {"kind": "vision", "output": {"activation": "sigmoid"}}
ADOPTED: ModelCard = {"kind": "adopted"}
ALIASES = {alias.path: alias for alias in settings.load([]).gateway.aliases}


def version(name: str, card: ModelCard) -> ServedVersion:
    return ServedVersion(name, "1.0", True, 1, 1, 1, 1, 1, 0, 0, 1, card)


def snapshot(**cards: ModelCard) -> Snapshot:
    return Snapshot({name: ServedModel(name, (version(name, card),)) for name, card in cards.items()}, 0.0)


@pytest.mark.parametrize(
    ("path", "fitting"),
    [
        ("/predict_proba", {"classes", "labels"}),
        ("/predict", {"policy"}),
        ("/predict/", {"classes", "labels"}),
        ("/classify", {"classes", "labels"}),
    ],
)
def test_a_model_fits_a_short_route_by_what_it_reads_and_answers(path: str, fitting: set[str]) -> None:
    served: dict[str, ModelCard] = {
        "classes": VISION,
        "labels": SIGMOID,
        "policy": POLICY,
        "adopted": ADOPTED,
        "unknown": {},
    }
    assert {name for name, card in served.items() if short_routes.fits(ALIASES[path], version(name, card))} == fitting


def test_only_model_is_chosen_anew_from_each_snapshot() -> None:
    choose = OnlyModel(lambda each: each.kind == "vision", "gateway.default_vision_model")
    assert choose(snapshot(weather=VISION, cartpole=POLICY)) == "weather"
    assert choose(snapshot(digits=VISION, cartpole=POLICY)) == "digits"
    with pytest.raises(UnknownModel, match=r"\(digits, weather\): set gateway.default_vision_model to one of them"):
        choose(snapshot(digits=VISION, weather=VISION))
    with pytest.raises(
        UnknownModel, match=r"no model that is served answers .*; gateway\.default_vision_model names one"
    ):
        choose(snapshot(cartpole=POLICY))


def test_short_routes_work_for_whatever_serves() -> None:
    engine = GivenTorchServe({"weather": CARDS["digits"], "walker": CARDS["cartpole"], "parrot": ADOPTED})
    with engine.running(), gateway_for(engine) as url:
        found = requests.post(f"{url}/classify", files={"x": PICTURE}, timeout=60)
        assert found.json()["message"] == "Class found for image was 7 with confidence 0.750."
        states = {"data": b'{"cart_position":0,"cart_velocity":0,"pole_angle":0.1,"pole_angular_velocity":0}'}
        for content_type in ("application/json", "application/x-www-form-urlencoded"):
            found = requests.post(f"{url}/predict", **states, headers={"Content-Type": content_type}, timeout=60)  # type: ignore[arg-type]
            assert found.json() == {"action": 1}
        assert requests.get(f"{url}/readyz", timeout=60).status_code == 200


def test_short_route_that_several_models_fit_names_the_setting() -> None:
    engine = GivenTorchServe({"weather": CARDS["digits"], "digits": CARDS["digits"]})
    with engine.running(), gateway_for(engine) as url:
        found = requests.post(f"{url}/predict_proba", files={"image": PICTURE}, timeout=60)
        assert (found.status_code, "set gateway.default_vision_model" in found.json()["detail"]) == (404, True)
