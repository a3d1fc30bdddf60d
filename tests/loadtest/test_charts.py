import pytest

from loadtest.pages.charts import (
    BASE,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    ChartAxis,
    ChartLine,
    ScatterDot,
    Shape,
    bar_chart,
    line_chart,
    scatter,
    stacked_bar,
)

X, Y = ChartAxis("seconds"), ChartAxis("ms")


def _line(*lines: ChartLine, across: ChartAxis = X) -> Chart:
    chart = line_chart("Title", lines, across, Y)
    assert chart is not None
    return chart


def _found(chart: Chart | None, tag: str, **attributes: str) -> list[Shape]:
    assert chart is not None
    return [each for each in chart.shapes if each.tag == tag and attributes.items() <= each.attributes.items()]


def _texts(chart: Chart | None) -> list[str]:
    return [each.text for each in _found(chart, "text")]


def test_line_chart_spans_frame_from_zero_to_rounded_ceiling() -> None:
    [path] = _found(_line(ChartLine("a", [(0.0, 0.0), (10.0, 100.0)])), "polyline")
    assert path.attributes["points"] == f"{LEFT}.0,{BASE}.0 {WIDTH - RIGHT}.0,{TOP + (BASE - TOP) / 6:.1f}"


def test_line_chart_gap_splits_line_and_single_point_is_dot() -> None:
    chart = _line(ChartLine("a", [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 2.0)], dashed=True))
    assert len(_found(chart, "polyline")) == 1
    assert _found(chart, "polyline")[0].attributes["stroke-dasharray"] == "5 4"
    assert len(_found(chart, "circle")) == 1


def test_line_chart_area_closes_at_zero() -> None:
    [area] = _found(_line(ChartLine("a", [(0.0, 1.0), (1.0, 2.0)], area=True)), "polygon")
    assert str(area.attributes["points"]).endswith(f"{WIDTH - RIGHT}.0,{BASE}.0 {LEFT}.0,{BASE}.0")


def test_line_chart_axes_have_round_numbers_or_given_ticks() -> None:
    line = ChartLine("a", [(0.0, 1.0), (6.0, 20_000.0)])
    assert _texts(_line(line)) == [
        *("0", "5000", "10k", "15k", "20k", "25k"),
        *("0", "1", "2", "3", "4", "5", "6"),
        *("seconds", "ms"),
    ]
    assert "99.9" in _texts(_line(line, across=ChartAxis("percentile", [(3.0, "99.9")])))


def test_line_chart_tooltips_need_common_positions() -> None:
    first, second = ChartLine("a", [(0.0, 1.0), (1.0, 2.0)]), ChartLine("b", [(0.0, None), (1.0, 4.0)])
    tooltips = _found(_line(first, second), "rect", **{"class": "hit"})
    assert [each.title for each in tooltips] == ["seconds 0: a 1 ms", "seconds 1: a 2, b 4 ms"]
    assert _found(_line(first, ChartLine("c", [(0.5, 1.0)])), "rect") == []
    assert _found(_line(ChartLine("d", [(0.5, 1.0)])), "rect") == []


def test_line_chart_label_has_ranges_and_legend_names_several_lines() -> None:
    first, second = ChartLine("a", [(0.0, 1.0), (1.0, 2.0)]), ChartLine("b", [(0.0, None)], "b")
    assert _line(first, second).label == "Title. a: 1 to 2; b: nothing"
    assert [entry.name for entry in _line(first, second).legend] == ["a", "b"]
    assert list(_line(first).legend) == []


def test_bar_chart_has_bar_per_bin_and_marks_inside() -> None:
    chart = bar_chart("Title", [(0.0, 5.0, 4), (5.0, 10.0, 2)], "ms", [(1.0, "p50"), (9.9, "p95"), (11.0, "p99")])
    assert [bar.title for bar in _found(chart, "rect")] == ["0.0 to 5.0 ms: 4", "5.0 to 10.0 ms: 2"]
    heights = [float(bar.attributes["height"]) for bar in _found(chart, "rect")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)
    marks = [text for text in _found(chart, "text") if text.attributes.get("class") == "strong"]
    assert [(mark.text, mark.attributes["text-anchor"]) for mark in marks] == [("p50", "start"), ("p95", "end")]


def test_stacked_bar_has_width_and_legend_by_share() -> None:
    chart = stacked_bar("Title", [("queue", 1.0), ("forward", 3.0)], "ms")
    assert chart is not None
    assert [piece.attributes["width"] for piece in _found(chart, "rect")] == ["138.0", "418.0"]
    assert [piece.attributes["x"] for piece in _found(chart, "rect")] == ["0.0", "140.0"]
    assert [entry.name for entry in chart.legend] == ["queue 1.00 ms (25%)", "forward 3.00 ms (75%)"]


def test_scatter_marks_front_best_and_goal() -> None:
    dots = [ScatterDot(50.0, 10.0, "slow"), ScatterDot(40.0, 20.0, "one", front=True, best=True)]
    chart = scatter("Title", [*dots, ScatterDot(20.0, 15.0, "two", front=True)], X, Y, goal=80.0)
    assert chart is not None
    assert [(dot.title, dot.attributes["fill"], dot.attributes["r"]) for dot in _found(chart, "circle")] == [
        ("slow", "var(--f)", 5),
        ("one", "var(--c)", 7),
        ("two", "var(--b)", 5),
    ]
    [path] = _found(chart, "polyline")
    xs = [float(point.split(",")[0]) for point in str(path.attributes["points"]).split()]
    assert xs == sorted(xs)
    [goal] = _found(chart, "line", stroke="var(--a)")
    assert float(goal.attributes["x1"]) == pytest.approx(LEFT + 80 / 100 * (WIDTH - LEFT - RIGHT), abs=0.1)
    assert {"best", "goal"} <= set(_texts(chart))
    assert chart.label == "Title. one; two"


def test_charts_without_values_are_none() -> None:
    assert line_chart("Title", [ChartLine("a", [(0.0, None)])], X, Y) is None
    assert bar_chart("Title", [], "ms", []) is None
    assert stacked_bar("Title", [("queue", 0.0)], "ms") is None
    assert scatter("Title", [], X, Y, goal=1.0) is None
