"""The file between measuring and planning, and the capacity_tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import document
from bench.capacity import capacity_tables, costs
from bench.capacity.__main__ import SECTIONS, main
from bench.capacity.forecast import Assumptions, plan
from bench.capacity.workloads import WORKLOADS
from errors import ConfigError
from settings.load import ROOT
from tests.bench.capacity.round_costs import COSTS, PICTURE, STATE


def test_costs_written_file_is_read_again(tmp_path: Path) -> None:
    costs.write(tmp_path / "figures" / "costs.json", COSTS)
    assert costs.read(tmp_path / "figures" / "costs.json") == COSTS
    assert list((tmp_path / "figures").iterdir()) == [tmp_path / "figures" / "costs.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"workloads": {"a": {}}}', '{"workloads": 1, "checks": []}'])
def test_costs_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "costs.json").write_text(text)
    with pytest.raises(ConfigError, match=r"costs\.json is not what"):
        costs.read(tmp_path / "costs.json")
    with pytest.raises(ConfigError, match="make bench_capacity"):
        costs.read(tmp_path / "absent.json")


def test_scale_document_has_every_section() -> None:
    document.check(ROOT / "docs" / "scale.md", *SECTIONS)


def test_tables_have_the_figures() -> None:
    assert "| pictures, `digits` | 500 | 1,000 | 9,000 | 500 | 200.00 | 0.50 | 210.00 | 300 | 90 | 20.0 |" in (
        capacity_tables.costs_table(COSTS)
    )
    checked = capacity_tables.check_table(COSTS)
    assert "| pictures | 2 | engines | 80.0 | 80.0 (78.0 to 100.0) | +0% | 0.39 of 0.4 |" in checked
    assert "Largest error: **10%**" in checked
    limits = capacity_tables.limits_table(COSTS, "pictures", Assumptions())
    assert limits.count("\n") == 8
    asked = capacity_tables.plan_table([(PICTURE, plan(COSTS, PICTURE, Assumptions(), 1e6))], Assumptions())
    assert "| from clients | 1.60 Tbit/s |" in asked
    for text in (checked, limits, asked):
        assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_plan_command_prints_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = dict(zip(WORKLOADS, (PICTURE, PICTURE, STATE), strict=True))
    costs.write(tmp_path / "costs.json", replace(COSTS, workloads=named))
    words = ["plan", "--model", "cartpole", "--costs", str(tmp_path / "costs.json")]
    assert main([*words, "--rate", "1e6"]) == 0
    assert "cores at the policy edge instead" in capsys.readouterr().out
    (tmp_path / "costs.json").write_text("{}")
    assert main([*words, "--rate", "1e6"]) == 1
    assert "make bench_capacity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "0"), "'0' is not a number above 0"),
        (("--rate", "x"), "argument --rate: 'x' is not a number above 0"),
        (("--rate", "nan"), "'nan' is not a number above 0"),
        (("--rate", "1", "--busy", "1.5"), "'1.5' is not a number above 0 and at most 1"),
        (("--rate", "1", "--cores", "0"), "'0' is not a whole number of 1 or more"),
        ((), "required: --rate"),
    ],
)
def test_plan_wrong_option_is_refused(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--model", "digits", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
