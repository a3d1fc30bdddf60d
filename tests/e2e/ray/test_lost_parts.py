"""Each process of engine=ray killed with -9 under load: answers stay right, and what is registered stays registered."""

import pytest
import requests

from bench.swaps import MixedLoad
from tests.e2e.conftest import Stack
from tests.e2e.ray import victims
from tests.e2e.ray.nodes import wait_until
from tests.e2e.ray.serving import AWAY, PATIENT, answers_come, registered, under_load

pytestmark = [pytest.mark.e2e, pytest.mark.ray]


@pytest.mark.parametrize("part", ["worker", "controller"])
def test_a_part_that_is_killed_costs_no_answer(serving: Stack, part: str) -> None:
    before = registered(serving)

    def steps(load: MixedLoad) -> None:
        killed = victims.kill(serving, part)
        answers_come(load)
        wait_until(lambda: len(victims.pids(serving, part) - killed) >= len(killed), f"{part} is back")
        answers_come(load)

    load = under_load(serving, steps)
    assert {answer.status for answer in load.answers} == {200}
    assert registered(serving) == before
    assert "serves" in serving.run("upload_model.py", "served_model=cartpole")


def test_one_of_two_fronts_that_is_killed_costs_no_answer_and_is_back_by_itself(serving: Stack) -> None:
    def steps(load: MixedLoad) -> None:
        before = victims.pids(serving, "front")
        assert len(before) == 2
        victims.found(serving, "front")[0].kill()
        answers_come(load)
        wait_until(lambda: len(victims.pids(serving, "front")) == 2 and victims.pids(serving, "front") != before, "two")
        answers_come(load)

    assert {answer.status for answer in under_load(serving, steps).answers} == {200}


def test_fronts_that_are_killed_all_at_once_are_back_by_themselves(serving: Stack) -> None:
    before = registered(serving)

    def steps(load: MixedLoad) -> None:
        killed = victims.kill(serving, "front")
        wait_until(lambda: bool(victims.pids(serving, "front") - killed), "the Front is back")
        answers_come(load)

    load = under_load(serving, steps)
    assert {answer.status for answer in load.answers} <= {200, AWAY}
    assert registered(serving) == before
    assert "serves" in serving.run("upload_model.py", "served_model=cartpole")


def test_answers_go_on_without_a_manager_and_a_new_one_finds_everything(serving: Stack) -> None:
    before = registered(serving)

    def steps(load: MixedLoad) -> None:
        killed = victims.kill(serving, "manager")
        answers_come(load)
        assert "make up" in serving.run("upload_model.py", "served_model=cartpole", status=1)
        assert "rayserve is ready" in serving.run("-m", "stack", "up", *PATIENT)
        assert not killed & victims.pids(serving, "manager")
        answers_come(load)

    load = under_load(serving, steps)
    assert {answer.status for answer in load.answers} == {200}
    assert registered(serving) == before
    assert "serves" in serving.run("upload_model.py", "served_model=digits")


def test_a_manager_that_starts_while_the_front_is_away_forgets_nothing(serving: Stack) -> None:
    before = registered(serving)
    victims.kill(serving, "manager")
    victims.kill(serving, "front")
    serving.run("-m", "stack", "up", *PATIENT)
    assert registered(serving) == before
    answer = requests.post(f"{serving.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=120)
    assert answer.status_code == 200
