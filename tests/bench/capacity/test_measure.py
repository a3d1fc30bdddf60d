"""The whole measurement, as short as can be: real engines, and a plan from what they cost."""

from pathlib import Path

import pytest

from bench.capacity import costs
from bench.capacity.__main__ import SECTIONS, main
from bench.capacity.workloads import WORKLOADS

pytestmark = pytest.mark.slow


def test_measured_costs_make_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "scale.md"
    document.write_text("\n".join(f"<!-- bench:{name} -->\n<!-- /bench:{name} -->" for name in SECTIONS))
    file = tmp_path / "costs.json"
    words = ["--rounds", "1", "--seconds", "1", "--engines", "2", "--costs", str(file), "--write", str(document)]
    assert main(["measure", *words]) == 0
    found = costs.read(file)
    assert set(found.workloads) == set(WORKLOADS)
    assert len(found.checks) == 2 * len(WORKLOADS)
    for cost in found.workloads.values():
        assert min(cost.gateway_s, cost.frontend_s, cost.worker_s, cost.client_s, cost.inside_bytes) > 0
    assert found.edge_s > 0
    assert document.read_text().count("| --- |") >= 5
    for name in WORKLOADS:
        assert main(["plan", "--model", name, "--rate", "1e6", "--costs", str(file)]) == 0
        assert "| engine cores |" in capsys.readouterr().out
