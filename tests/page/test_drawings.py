"""Numbers read back from the drawings: marks stand where the ticks of their axes say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import made_reports
import pytest
from trees import Element, tree

from leakage.page import page
from leakage.page.svg import width_of
from leakage.reading.schema import Report

TITLE = "Adult (stand-in), property_sex, k = 16"
ROOT = tree(page(made_reports.several()))
Read = Callable[[float], float]
Box = tuple[float, float, float, float]


def drawing(title: str, root: Element = ROOT) -> Element:
    return next(d for d in root.all("svg") if d.all("title")[0].text == title)


def place(element: Element, name: str) -> float:
    return float(element.attributes[name])


def scale(ticks: list[tuple[float, float]], log: bool = False) -> Read:
    """What number stands at a place, by the first and the last tick."""
    (at, low), *_, (end, high) = ticks
    if log:
        return lambda x: low * (high / low) ** ((x - at) / (end - at))
    return lambda x: low + (high - low) * (x - at) / (end - at)


def ticks(chart: Element, along: str) -> list[tuple[float, float]]:
    """Places and numbers of the ticks across (`x`) or up (`y`)."""
    anchor = "middle" if along == "x" else "end"
    marks = [t for t in chart.all("text", "tick") if t.attributes["text-anchor"] == anchor]
    shift = 0 if along == "x" else -4
    return [(place(t, along) + shift, float(t.text.replace("\N{MINUS SIGN}", "-"))) for t in marks]


def places(path: Element) -> list[tuple[float, float]]:
    pairs = re.findall(r"([\d.-]+) ([\d.-]+)", path.attributes["d"])
    return [(float(x), float(y)) for x, y in pairs]


def test_the_points_of_a_curve_are_its_figures() -> None:
    chart = drawing("AUROC against k")
    read_k = scale(ticks(chart, "x"), log=True)
    read = scale(ticks(chart, "y"))
    curves = made_reports.several().curves[:4]
    for curve, line in zip(curves, chart.curves(), strict=True):
        found = places(line)
        assert [read_k(x) for x, _ in found] == pytest.approx([p.x for p in curve.points], rel=0.01)
        values = [p.figure.value for p in curve.points]
        assert [read(y) for _, y in found] == pytest.approx(values, abs=0.003)
        assert ("baseline" in line.look) == curve.baseline
    for curve, band in zip(curves, chart.all("path", "area"), strict=True):
        limits = [p.figure.low for p in curve.points]
        limits += [p.figure.high for p in reversed(curve.points)]
        assert [read(y) for _, y in places(band)] == pytest.approx(limits, abs=0.003)
        assert band.attributes["d"].endswith("Z")
    looks = [m.look for m in chart.all("path", "mark") if m.all("title")]
    assert [("s0" in look, "hollow" in look) for look in looks[::4]] == [
        (True, False),
        (True, True),
        (False, False),
        (False, True),
    ]


def test_a_gap_in_a_curve_has_no_band_and_no_point() -> None:
    curve = made_reports.several().curves[0]
    points = [
        replace(p, figure=made_reports.Figure(None if n == 1 else 0.7)) if n < 2 else p
        for n, p in enumerate(curve.points)
    ]
    chart = tree(page(Report("", [], curves=[replace(curve, points=points)]))).all("svg")[0]
    assert len([m for m in chart.all("path", "mark") if m.all("title")]) == 3
    assert len(places(chart.all("path", "area")[0])) == 4  # two places, each with both limits


def test_rows_stand_at_their_figures_with_their_limits() -> None:
    chart = drawing("Who guesses how well, round 2 alone")
    run = made_reports.several().runs[0]
    read = scale(ticks(chart, "x"))
    found = [
        (read(left), read(right)) for left, up, right, down in chart.lines("whisker") if up == down
    ]
    figures = [g.figures["auroc"] for g in run.guessers if g.round == 2]
    expected = [(f.low, f.high) for f in figures]
    assert [e for pair in found for e in pair] == pytest.approx(
        [e for pair in expected for e in pair], abs=0.003
    )
    marks = [m for m in chart.all("path", "mark") if m.all("title")]
    hollow = ["hollow" in m.look for m in marks]
    assert hollow == [not g.knowledge for g in run.guessers if g.round == 2]


def test_the_band_of_bits_goes_from_the_floor_to_the_ceiling_or_to_all() -> None:
    chart = drawing("Bits of the secret, from below and from above")
    read = scale(ticks(chart, "x"))
    for run, band in zip(made_reports.several().runs, chart.all("rect", "band"), strict=True):
        start = place(band, "x")
        ceiling = run.information["bits_ceiling"].value
        ends = [run.information["bits_floor"].value, ceiling or 1.0]
        found = [read(start), read(start + place(band, "width"))]
        assert found == pytest.approx(ends, abs=0.003)
        assert ("open" in band.look) == (ceiling is None)
    assert [read(x) for x, *_ in chart.lines("end")] == pytest.approx([1.0] * 4)


def test_defenses_stand_at_their_utility_and_gain_and_the_best_on_a_line() -> None:
    chart = drawing(TITLE)
    across, up = scale(ticks(chart, "x")), scale(ticks(chart, "y"))
    tradeoffs = made_reports.several().frontier
    crosses = chart.lines("whisker")
    for number, one in enumerate(tradeoffs):
        wide, high = crosses[2 * number : 2 * number + 2]
        expected = [one.utility.low, one.utility.high, one.gain.value]
        found = [across(wide[0]), across(wide[2]), up(wide[1])]
        assert found == pytest.approx(expected, abs=0.003)
        expected = [one.gain.low, one.gain.high, one.utility.value]
        found = [up(high[3]), up(high[1]), across(high[0])]
        assert found == pytest.approx(expected, abs=0.003)
    marks = [m for m in chart.all("path", "mark") if m.all("title")]
    assert ["hollow" in m.look for m in marks] == [not one.best for one in tradeoffs]
    assert [m.look & {"s0", "s1", "s2", "s3"} for m in marks] == [{f"s{n}"} for n in range(4)]
    # From DP straight up to the gain of pruning, right to pruning, and so on to no defense.
    edge = [(across(x), up(y)) for x, y in places(chart.all("path", "edge")[0])]
    corners = [(0.7641, -0.2271), (0.7641, 0.0675), (0.8401, 0.0675), (0.8401, 0.0803)]
    corners.append((0.8532, 0.0803))
    assert [n for corner in edge for n in corner] == pytest.approx(
        [n for corner in corners for n in corner], abs=0.003
    )


def labels_of(chart: Element) -> list[tuple[str, Box]]:
    """The labels beside marks, with the boxes that they fill."""
    texts = [t for t in chart.all("text") if not t.look and place(t, "y") < 250]  # not the key
    return [
        (
            t.text,
            (place(t, "x"), place(t, "y") - 10, place(t, "x") + width_of(t.text), place(t, "y")),
        )
        for t in texts
    ]


def away(box: Box, at: tuple[float, float]) -> float:
    (left, top, right, bottom), (x, y) = box, at
    return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


@pytest.mark.parametrize(
    ("report", "names"),
    [
        (made_reports.several(), 4),
        (made_reports.crowded(), 1),
        (made_reports.crowded(3), 2),
    ],
    ids=["spread", "crowded", "few"],
)
def test_labels_of_defenses_cover_nothing_and_stand_beside_their_own_marks(
    report: Report, names: int
) -> None:
    chart = drawing(TITLE, tree(page(report)))
    labels = labels_of(chart)
    assert len(labels) >= names
    marks = {
        m.all("title")[0].text.split(": utility")[0]: center(m)
        for m in chart.all("path", "mark")
        if m.all("title")
    }
    assert len(marks) == len(report.frontier)
    boxes = [box for _, box in labels] + [(x, y, x, y) for x, y in marks.values()]
    boxes += chart.lines("whisker")
    for number, (name, one) in enumerate(labels):
        for other in boxes[number + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1], name
        mine = [at for full, at in marks.items() if full.startswith(name.removesuffix(" …"))]
        nearest = min(away(one, at) for at in marks.values())
        assert min(away(one, at) for at in mine) <= nearest + 1


def points_alone(*gains: float) -> Report:
    """Defenses of one utility at these gains, without intervals."""
    report = made_reports.crowded(len(gains))
    placed = [
        replace(one, label=f"defense {n}", utility=made_reports.Figure(0.85), gain=gained)
        for n, (one, gained) in enumerate(
            zip(report.frontier, map(made_reports.Figure, gains), strict=True)
        )
    ]
    runs = [replace(run, defense=f"defense {n}") for n, run in enumerate(report.runs)]
    return replace(report, runs=runs, frontier=placed)


def test_a_label_that_would_stand_at_another_mark_is_left_to_the_key() -> None:
    close = points_alone(0.08, 0.0778, 0.0756, 0.0734, 0.0712)  # six units apart
    labels = labels_of(drawing(TITLE, tree(page(close))))
    assert [name for name, _ in labels] == ["defense 0", "defense 1", "defense 4"]


def test_a_label_that_is_cut_to_the_same_for_two_names_none() -> None:
    long = "DP(clip=1, batch=64, delta=1e-05, sigma="
    apart = points_alone(0.08, 0.04, 0.01)
    names = ["none", f"{long}1)", f"{long}2)"]
    told = [replace(one, label=name) for one, name in zip(apart.frontier, names, strict=True)]
    runs = [replace(run, defense=name) for run, name in zip(apart.runs, names, strict=True)]
    found = labels_of(drawing(TITLE, tree(page(replace(apart, runs=runs, frontier=told)))))
    assert [name for name, _ in found] == ["none"]


def center(mark: Element) -> tuple[float, float]:
    """The middle of a mark, by the box of its shape."""
    x, y = places(mark)[0]
    first = {
        "a4.5": (4.5, 0),
        "h8v8": (4, 4),
        "l5 9": (0, 5.2),
        "l5.8": (0, 5.8),
        "l5 -": (0, -5.2),
    }
    found = re.match(r"M[\d.-]+ [\d.-]+(.{4})", mark.attributes["d"])
    right, down = first.get(found[1] if found else "", (1.7, 5.0))
    return x + right, y + down


def test_more_defenses_than_shapes_have_marks_of_their_own() -> None:
    chart = drawing(TITLE, tree(page(made_reports.crowded(20))))
    keys = [m for m in chart.all("path", "mark") if not m.all("title")]
    shapes = {re.sub(r"M[\d.-]+ [\d.-]+", "", m.attributes["d"]) + str(m.look) for m in keys}
    assert len(keys) == len(shapes) == 20


@pytest.mark.parametrize("name", ["crowded", "several"])
def test_rows_of_a_chart_stand_equally_far_apart(name: str) -> None:
    report = getattr(made_reports, name)()
    if name == "several":  # short and long labels beside each other
        long = "Chain(" + ", ".join(["Pruning(keep=0.01)"] * 4) + ")"  # of two lines
        runs = [
            replace(run, defense=run.defense + long * (n == 1)) for n, run in enumerate(report.runs)
        ]
        report = replace(report, runs=runs)
    chart = drawing("Bits of the secret, from below and from above", tree(page(report)))
    tracks = [y for _, y, *_ in chart.lines("track")]
    assert len(tracks) == len(report.runs)
    assert len({round(low - high, 1) for high, low in pairwise(tracks)}) == 1
    lines: dict[float, float] = {}
    for words in chart.all("text"):
        lines[place(words, "y")] = lines.get(place(words, "y"), 0) + width_of(words.text)
    assert max(lines.values()) < 400


def test_what_is_not_paired_is_hollow() -> None:
    chart = drawing("AUROC, round 3 alone: one run less another")
    marks = [m for m in chart.all("path", "mark") if m.all("title")]
    assert ["hollow" in m.look for m in marks] == [False, True]
    words = [t.text for t in chart.all("text") if not t.look]
    assert words[:2] == ["Sign() less none", "DP(clip=1, sigma=2) less none"]
    assert words[2:] == ["the same trials or records (paired)", "independent intervals"]
    read = scale(ticks(chart, "x"))
    lines = [line for line in chart.lines("whisker") if line[1] == line[3]]
    assert read(lines[1][0]) == pytest.approx(-0.3485, abs=0.003)


def test_no_mark_stands_outside_its_drawing_and_no_number_is_broken() -> None:
    for chart in ROOT.all("svg"):
        width, height = (float(n) for n in chart.attributes["viewbox"].split()[2:])
        for line in chart.lines(""):
            for at, most in zip(line, (width, height, width, height), strict=True):
                assert 0 <= at <= most
        for text in chart.all("text"):
            assert 0 <= place(text, "x") <= width
            assert math.isfinite(place(text, "y"))
