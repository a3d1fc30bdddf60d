"""Rows, tables and the figure."""

import math
from xml.etree import ElementTree as ET

import pytest

from bench.figures import markdown, median_ratio, missing_row, ratio_row, share_row
from bench.growth_figure import Point, Series, svg, table
from bench.peers.measure import Measured
from bench.peers.peer import discover
from bench.peers.report import BARE, Entry, burdens
from bench.peers.report import table as peers_table


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    assert median_ratio([10.0, 100.0, 30.0], [5.0, 10.0, 15.0]) == 2.0


def test_a_row_says_whether_it_is_reached_missed_or_not_measured() -> None:
    rows = [
        ratio_row("fast enough", [4.0], [2.0], "/s", 2),
        ratio_row("too slow", [3.9], [2.0], "/s", 2),
        share_row("short enough", [1.0], [2.0], "s", 0.5),
        share_row("too long", [1.1], [2.0], "s", 0.5),
        missing_row("unknown", "it does not build", "≥ 2"),
    ]
    verdicts = [line.split("|")[-2].strip() for line in markdown(rows).splitlines()[2:]]
    assert verdicts == ["reached", "missed", "reached", "missed", "not measured"]


def measured(rate: float) -> Measured:
    return Measured(rate, 1.0, 2.0, 3.0, 4.0)


def entry(title: str, wanted: float | None, *rates: float, failed: str = "") -> Entry:
    return Entry(title, "pictures", "exact", wanted, None, "", dict(enumerate(map(measured, rates))), failed)


def test_a_peer_that_marina_loses_to_keeps_its_row() -> None:
    ours, faster = entry("Marina", None, 100.0, 110.0), entry("faster", 1.0, 125.0, 137.5)
    printed = peers_table([ours, faster], ours)
    assert "| faster | 131.2 (125 to 137.5) | 1.0 | 2.0 | **0.80** | ≥ 1 | missed |" in printed


def test_a_peer_that_failed_keeps_its_row_with_the_reason_in_one_line() -> None:
    ours, broken = entry("Marina", None, 100.0), entry("broken", 1.0, failed="no | answer\nat all")
    printed = peers_table([ours, broken], ours)
    assert "| broken | not measured: no / answer at all | | | | ≥ 1 | not measured |" in printed


def test_a_ratio_is_of_the_rounds_that_both_have() -> None:
    ours, shorter = entry("Marina", None, 100.0, 999.0), entry(BARE, 0.78, 100.0)
    assert "**1.00**" in peers_table([ours, shorter], ours)


def test_without_marina_there_are_rates_but_no_ratios() -> None:
    ours, other = entry("Marina", None, failed="it ended"), entry("other", 1.0, 10.0)
    assert "| other | 10 (10 to 10) | 1.0 | 2.0 |  | ≥ 1 |  |" in peers_table([ours, other], ours)
    assert burdens([ours, other], {}).count("\n") == 1


def test_every_peer_is_found_by_its_file_and_asked_for_pictures_or_states() -> None:
    peers = discover()
    assert peers[0].folder == "marina"
    assert {peer.subject for peer in peers} == {"pictures", "states"}
    assert len({(peer.title, peer.subject) for peer in peers}) == len(peers)
    assert all("==" in line or line.startswith(("-r ", "#")) for peer in peers if peer.requirements.is_file()
               for line in peer.requirements.read_text().splitlines())  # fmt: skip


SERIES = Series(
    "Clients & more", "clients", [Point(1, 10.0, 1.0, 2.0), Point(8, 71.0, 3.0, 4.0), Point(16, failed="a|b")]
)


def test_a_series_is_a_table_with_its_failures() -> None:
    assert table(SERIES).splitlines()[2:] == [
        "| 1 | 10.0 | 1.0 | 2.0 |",
        "| 8 | 71.0 | 3.0 | 4.0 |",
        "| 16 | a/b | | |",
    ]


@pytest.mark.parametrize("number", [0, 1, 4])
def test_the_figure_is_well_formed_and_holds_every_point_inside_its_edges(number: int) -> None:
    root = ET.fromstring(svg([SERIES] * number))
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * number
    assert all(0 < float(c.attrib["cx"]) < width and 0 < float(c.attrib["cy"]) < height for c in circles)


def test_a_series_of_one_point_or_of_none_is_drawn() -> None:
    one = Series("one", "models", [Point(1, 0.5)])
    assert "<circle" in svg([one])
    assert "nan" not in svg([one, Series("none", "models", [Point(1, math.nan, failed="x")])])
