"""How fast a model is known to be, by a clock that the test holds."""

import pytest

from gateway.scheduling.admission import BEST_S, ENOUGH_ANSWERS, ENOUGH_S, MEMORY_S, Speed

PARALLEL = 4


class Model:
    """A model whose answers come at the test's own times."""

    def __init__(self) -> None:
        self.now = 100.0
        self.speed = Speed()
        self.speed.look(self.now, PARALLEL + 1, PARALLEL)

    def answers(self, count: int, *, a_second: float, inside: int = PARALLEL + 1, parallel: int = PARALLEL) -> None:
        for _ in range(count):
            self.now += 1 / a_second
            self.speed.look(self.now, inside, parallel)
            self.speed.answered()

    @property
    def per_second(self) -> float | None:
        return self.speed.per_second


def test_speed_saturated_model_is_its_rate_of_answers() -> None:
    model = Model()
    model.answers(200, a_second=50)
    assert model.per_second == pytest.approx(50, rel=0.02)


def test_speed_model_that_waits_for_requests_is_unknown() -> None:
    model = Model()
    model.speed.look(model.now, PARALLEL, PARALLEL)
    model.answers(200, a_second=5, inside=PARALLEL)
    assert model.per_second is None


def test_speed_one_request_more_than_can_be_at_work_is_saturated() -> None:
    model = Model()
    model.answers(200, a_second=5, inside=PARALLEL + 1)
    assert model.per_second == pytest.approx(5, rel=0.2)


def test_speed_idle_time_between_two_rushes_is_not_counted() -> None:
    model = Model()
    model.answers(200, a_second=50)
    model.speed.look(model.now, 0, PARALLEL)
    model.now += 1000
    model.speed.look(model.now, PARALLEL + 1, PARALLEL)
    assert model.per_second == pytest.approx(50, rel=0.02)
    model.answers(100, a_second=50)
    assert model.per_second == pytest.approx(50, rel=0.02)


def test_speed_answers_to_an_unsaturated_model_are_not_counted() -> None:
    model = Model()
    model.answers(200, a_second=50)
    model.speed.look(model.now, 0, PARALLEL)
    for _ in range(1000):
        model.speed.answered()
    assert model.per_second == pytest.approx(50, rel=0.02)


def test_speed_few_answers_in_a_short_time_are_not_believed() -> None:
    model = Model()
    model.answers(ENOUGH_ANSWERS - 1, a_second=50)
    assert model.per_second is None
    model.answers(1, a_second=50)
    assert model.per_second == pytest.approx(50, rel=0.1)


def test_speed_many_answers_at_one_moment_are_not_believed() -> None:
    model = Model()
    model.answers(1000, a_second=1001 / ENOUGH_S)
    assert model.per_second is None
    model.answers(2, a_second=1000 / ENOUGH_S)
    assert model.per_second == pytest.approx(1000 / ENOUGH_S, rel=0.1)


def test_speed_few_answers_over_a_long_time_are_believed() -> None:
    model = Model()
    model.answers(1, a_second=1 / (MEMORY_S - 0.1))
    assert model.per_second is None
    model.answers(1, a_second=10)
    assert model.per_second is not None


def test_speed_without_any_answer_is_unknown_however_long() -> None:
    model = Model()
    model.speed.look(model.now + 60, PARALLEL + 1, PARALLEL)
    assert model.per_second is None


def test_speed_faster_model_is_believed_within_its_memory() -> None:
    model = Model()
    model.answers(200, a_second=50)
    model.answers(400, a_second=100)
    assert model.per_second == pytest.approx(100, rel=0.2)


def test_speed_slower_answers_lower_it_no_faster_than_the_best_fades() -> None:
    model = Model()
    model.answers(200, a_second=50)
    best = model.per_second
    assert best is not None
    model.answers(50, a_second=5)  # ten seconds in which the gateway takes the processors for itself
    assert model.per_second == pytest.approx(best * 0.717, rel=0.02)  # e to the power of -10/30


def test_speed_engine_that_stays_slower_is_believed_after_a_while() -> None:
    model = Model()
    model.answers(200, a_second=50)
    model.answers(int(3 * BEST_S) * 5, a_second=5)
    assert model.per_second == pytest.approx(5, rel=0.1)


def test_speed_crest_of_a_short_time_is_no_best() -> None:
    model = Model()
    model.answers(100, a_second=200)
    crest = model.per_second
    model.answers(20, a_second=2)
    assert crest == pytest.approx(200, rel=0.05)
    assert model.per_second is not None
    assert model.per_second < 40


def test_speed_other_number_of_workers_is_measured_anew() -> None:
    model = Model()
    model.answers(200, a_second=50)
    model.speed.look(model.now, PARALLEL + 1, PARALLEL // 2)
    assert model.per_second is None
    model.answers(200, a_second=25, parallel=PARALLEL // 2)
    assert model.per_second == pytest.approx(25, rel=0.02)


def test_speed_model_slower_than_the_memory_is_known_between_its_answers() -> None:
    model = Model()
    model.answers(20, a_second=0.1)
    assert model.per_second == pytest.approx(0.1, rel=0.3)
    model.now += 9
    model.speed.look(model.now, PARALLEL + 1, PARALLEL)
    assert model.per_second == pytest.approx(0.1, rel=0.3)


def test_speed_model_that_stops_answering_becomes_slower_and_slower() -> None:
    model = Model()
    model.answers(200, a_second=50)
    found = [model.per_second or 0.0]
    for _ in range(20):
        model.now += 10
        model.speed.look(model.now, PARALLEL + 1, PARALLEL)
        found.append(model.per_second or 0.0)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.5
