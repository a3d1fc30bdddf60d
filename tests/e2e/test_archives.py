"""Each archive of the table in docs/torchserve-archives.md, from its adoption to a kill of its engine."""

import pytest

from tests.e2e.archives_table import NAMES, run


@pytest.mark.e2e
@pytest.mark.parametrize(
    "engine", [pytest.param("torchserve", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.ray)]
)
def test_archives_of_torch_model_archiver_are_served_unless_they_are_refused_by_name(engine: str) -> None:
    rows = run(engine, NAMES)
    assert [row.name for row in rows] == list(NAMES)
    assert {row.name: row.steps for row in rows if row.failed} == {}
