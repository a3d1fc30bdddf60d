"""Rows, tables and the figure of growth."""

import math
from xml.etree import ElementTree as ET

import pytest

from bench.growth import Point, Series, series_table, svg
from bench.peers.comparison import BARE, Entry, footprint_table, rates_table
from bench.peers.contest import Measured
from bench.peers.launch import HERE
from bench.peers.table import PEERS
from bench.tables import figures, median_ratio, missed, missing_row, ratio_row


def test_median_ratio_is_not_the_ratio_of_the_medians() -> None:
    assert median_ratio([10.0, 100.0, 30.0], [5.0, 10.0, 15.0]) == 2.0


def test_figures_rows_are_reached_missed_or_not_measured() -> None:
    rows = [
        ratio_row("fast enough", [4.0], [2.0], "/s", least=2),
        ratio_row("too slow", [3.9], [2.0], "/s", least=2),
        ratio_row("short enough", [1.0], [2.0], "s", most=0.5),
        ratio_row("too long", [1.1], [2.0], "s", most=0.5),
        missing_row("unknown", "it does not build", "≥ 2"),
    ]
    verdicts = [line.split("|")[-2].strip() for line in figures(rows).splitlines()[2:]]
    assert verdicts == ["reached", "missed", "reached", "missed", "not measured"]
    assert missed(rows)
    assert not missed([rows[0], rows[4]])


def measured(rate: float) -> Measured:
    return Measured(rate, 1.0, 2.0, 3.0, 4.0)


def entry(title: str, wanted: float | None, *rates: float, failed: str = "") -> Entry:
    return Entry(title, wanted, None, "", dict(enumerate(map(measured, rates))), failed)


def test_rates_table_faster_peer_keeps_its_row() -> None:
    ours, faster = entry("Marina", None, 100.0, 110.0), entry("faster", 1.0, 125.0, 137.5)
    printed = rates_table([ours, faster], ours)
    assert "| faster | 131.2 (125 to 137.5) | 1.0 | 2.0 | **0.80** | ≥ 1 | missed |" in printed


def test_rates_table_failed_peer_keeps_its_row_with_the_reason() -> None:
    ours, broken = entry("Marina", None, 100.0), entry("broken", 1.0, failed="no | answer\nat all")
    printed = rates_table([ours, broken], ours)
    assert "| broken | not measured: no / answer at all | | | | ≥ 1 | not measured |" in printed


def test_rates_table_ratio_is_of_the_rounds_that_both_have() -> None:
    ours, shorter = entry("Marina", None, 100.0, 999.0), entry(BARE, 0.78, 100.0)
    assert "**1.00**" in rates_table([ours, shorter], ours)


def test_rates_table_without_marina_has_no_ratios() -> None:
    ours, other = entry("Marina", None, failed="it ended"), entry("other", 1.0, 10.0)
    assert "| other | 10 (10 to 10) | 1.0 | 2.0 | | ≥ 1 | |" in rates_table([ours, other], ours)
    assert footprint_table([ours, other], {}).count("\n") == 1


def test_peers_marina_is_first_and_every_folder_has_a_row() -> None:
    assert PEERS[0].folder == "marina"
    assert {peer.subject for peer in PEERS} == {"pictures", "states"}
    assert len({(peer.title, peer.subject) for peer in PEERS}) == len(PEERS)
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders - {"torchvision_site"} == {peer.folder for peer in PEERS} - {"marina"}
    assert all(peer.user_files and all(path.is_file() for path in peer.user_files) for peer in PEERS)


def test_peers_requirements_are_pinned() -> None:
    assert all("==" in line or line.startswith(("-r ", "#")) for peer in PEERS if peer.requirements.is_file()
               for line in peer.requirements.read_text().splitlines())  # fmt: skip


SERIES = Series(
    "Clients & more", "clients", [Point(1, 10.0, 1.0, 2.0), Point(8, 71.0, 3.0, 4.0), Point(16, failed="a|b")]
)


def test_series_table_has_failures() -> None:
    assert series_table(SERIES).splitlines()[2:] == [
        "| 1 | 10.0 | 1.0 | 2.0 |",
        "| 8 | 71.0 | 3.0 | 4.0 |",
        "| 16 | a/b | | |",
    ]


@pytest.mark.parametrize("number", [0, 1, 4])
def test_svg_is_well_formed_and_has_every_point_inside(number: int) -> None:
    root = ET.fromstring(svg([SERIES] * number))
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * number
    assert all(0 < float(c.attrib["cx"]) < width and 0 < float(c.attrib["cy"]) < height for c in circles)


def test_svg_series_of_one_point_or_none_is_drawn() -> None:
    one = Series("one", "models", [Point(1, 0.5)])
    assert "<circle" in svg([one])
    assert "nan" not in svg([one, Series("none", "models", [Point(1, math.nan, failed="x")])])
