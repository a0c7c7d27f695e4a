"""The page says what its report says, to everybody, without asking anybody."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from itertools import pairwise
from urllib.parse import unquote

import made_reports
import pytest
from trees import Element, tree

from leakage.page import page
from leakage.page.charts import differences
from leakage.page.curves import curve_pictures
from leakage.page.wording import NONE, with_limits
from leakage.reading.schema import Report

REPORTS = {
    "several": made_reports.several(),
    "single": made_reports.single(),
    "nothing": made_reports.nothing(),
}
PAGES = {name: page(report) for name, report in REPORTS.items()}


TREES = {name: tree(source) for name, source in PAGES.items()}
every_page = pytest.mark.parametrize("name", PAGES)


def tables(root: Element, caption: str) -> list[list[list[str]]]:
    """The cells of all tables with a caption."""
    return [
        [[c.text for c in row.children if isinstance(c, Element)] for row in table.all("tr")]
        for table in root.all("table")
        if table.all("caption")[0].text.startswith(caption)
    ]


def downloads(root: Element) -> dict[str, list[list[str]]]:
    found = {}
    for link in root.all("a"):
        if "download" in link.attributes:
            head, data = link.attributes["href"].split(",", 1)
            assert head == "data:text/csv;charset=utf-8"
            assert not set(data) & set(" #&\n\"'<>")
            text = unquote(data, errors="strict")
            found[link.attributes["download"]] = list(csv.reader(io.StringIO(text)))
    return found


def test_the_table_of_adversaries_is_that_of_the_run() -> None:
    run = REPORTS["single"].runs[0]
    (table,) = tables(TREES["single"], "By adversary, round 2 alone")
    last = [g for g in run.guessers if g.round == 2]
    assert [row[0] for row in table[1:]] == [g.adversary for g in last]
    for row, one in zip(table[1:], last, strict=True):
        assert row[2] == with_limits(one.figures["auroc"])
        assert row[5] == with_limits(one.figures["bits"])
    assert table[-1][2:] == [
        "0.984 [0.977, 0.992]",
        "0.954 [0.939, 0.969]",
        "+0.080 [+0.065, +0.095]",
        "0.771 [at least 0.617]",
        "labels",
    ]
    (claimed,) = tables(TREES["single"], "Statements, corrected over the whole report")
    assert claimed[1][1:] == [
        "BoostedTrees",
        "either",
        "the gain is above 0",
        "< 0.001",
        "< 0.001",
        "yes",
    ]


def test_all_runs_stand_in_one_table_with_what_is_claimed_of_them() -> None:
    (table,) = tables(TREES["several"], "The strongest adversary of each run")
    found = {row[0]: row[2:] for row in table[1:]}
    told = (
        "in its last round (all: data Adult (stand-in), secret property_sex, k 16, state finished)"
    )
    assert any(c.text.endswith(told) for c in TREES["several"].all("caption"))
    assert found["Sign"] == [
        "0.994 [0.988, 1.001]",
        "+0.091 [+0.077, +0.104]",
        "yes, 1 of 1",
        NONE,
        "0.833 [0.828, 0.838]",
    ]
    assert found["DP"] == [
        "0.677 [0.657, 0.697]",
        "-0.227 [-0.267, -0.187]".replace("-", "\N{MINUS SIGN}"),
        "no, 0 of 1",
        "1.361 (sigma 1), 0.642 (sigma 2)",
        "0.764 [0.759, 0.769]",
    ]


def test_statements_stand_once_in_a_page() -> None:
    for root in TREES.values():
        assert len(tables(root, "Statements, corrected over the whole report")) == 1


def test_the_verdict_of_one_run_is_its_sentences_and_of_several_how_many_leak() -> None:
    verdict = {
        name: [
            p.text
            for s in root.all("section")
            if s.attributes.get("id") == "verdict"
            for p in s.all("p")
            if p.attributes.get("class") != "note"
        ]
        for name, root in TREES.items()
    }
    assert verdict["single"] == REPORTS["single"].runs[0].sentences
    assert verdict["several"][0].startswith("In 3 of 4 runs is an adversary shown to beat")
    assert "over all 4 statements" in verdict["several"][0]
    assert verdict["several"][1].startswith(
        "The largest gain of these is that of BoostedTrees in the run “none”, round 0 alone: +0.300"
    )
    assert verdict["nothing"][0].startswith("In no run is an adversary shown to beat")
    assert "no proof that none can" in verdict["nothing"][1]
    assert verdict["nothing"][2] == "null. " + REPORTS["nothing"].runs[0].sentences[0]


def test_a_download_holds_all_digits() -> None:
    found = downloads(TREES["several"])
    for run in REPORTS["several"].runs:
        figure = run.strongest.figures["auroc"] if run.strongest else None
        rows = found[f"{run.name.lower()}-adversaries.csv"]
        assert rows[0][2:5] == ["AUROC [95%]", "low", "high"]
        mine = next(r for r in rows if r[0] == "BoostedTrees" and r[1] != "static")
        assert figure is not None
        assert [float(cell) for cell in mine[2:5]] == [figure.value, figure.low, figure.high]
    points = REPORTS["several"].curves[0].points
    rows = found["auroc-against-k.csv"][1:5]
    assert [(float(r[2]), float(r[3])) for r in rows] == [(p.x, p.figure.value) for p in points]


def test_every_drawing_has_its_data_beside_it_with_as_many_rows_as_marks() -> None:
    for root in TREES.values():
        for figure in root.all("figure"):
            (drawing,) = figure.all("svg")
            (link,) = (a for a in figure.all("a") if "download" in a.attributes)
            rows = downloads(figure)[link.attributes["download"]]
            marks = [
                m
                for m in drawing.all("path")
                if "mark" in m.attributes["class"].split() and m.all("title")
            ]
            each = 3 if "epsilon" in rows[0][2] or "proven at least" in rows[0] else 1
            assert len(marks) == each * (len(rows) - 1), figure.all("p")[0].text


def test_the_audit_shows_what_is_proven_what_the_pair_has_and_what_dp_allows() -> None:
    (table,) = (t for t in tables(TREES["several"], "Epsilon at every noise"))
    assert [row[:5] for row in table[1:]] == [
        ["sigma = 1", "1e-05", "1.361", "2.691", "9.997"],
        ["sigma = 2", "1e-05", "0.642", "1.241", "4.377"],
    ]
    of_membership = replace(REPORTS["several"].runs[1], secret="membership")
    (table,) = tables(tree(page(Report("", [of_membership]))), "Epsilon at every noise")
    assert [row[4] for row in table[1:]] == ["4.761", "2.084"]  # one record more or less


def test_of_audits_alone_the_verdict_is_what_each_of_them_proves() -> None:
    audit = replace(made_reports.played("a", "DP(clip=1, sigma=2)"), guessers=[], strongest=None)
    runs = [replace(audit, name=name, sentences=[f"epsilon of {name}"]) for name in "abcd"]
    root = tree(page(Report("", runs)))
    said = [p.text for p in root.all("section")[0].all("p")]
    assert said == [f"{name}. epsilon of {name}" for name in "abcd"]
    (table,) = tables(root, "The strongest adversary of each run")
    assert table[0] == ["run"]  # the rest is the same in all, or not there


def test_a_defense_has_the_shortest_name_that_tells_it_apart() -> None:
    def labels(*defenses: str) -> list[str]:
        runs = [
            replace(made_reports.played(f"run {n}", "none"), defense=defense)
            for n, defense in enumerate(defenses)
        ]
        pairs = [
            replace(made_reports.several().frontier[0], runs=[run.name], label=run.defense)
            for run in runs
        ]
        (table,) = tables(tree(page(Report("", runs, frontier=pairs))), "Utility and gain")
        return [row[0] for row in table[1:]]

    assert labels("none", "DP(sigma=2)") == ["none", "DP"]
    assert labels("DP(sigma=1)", "DP(sigma=2)") == ["DP(sigma=1)", "DP(sigma=2)"]
    assert labels("none", "none") == ["run 0", "run 1"]


def test_figures_of_one_round_say_so_where_others_are_of_all_rounds() -> None:
    report = REPORTS["several"]
    drawn = [*curve_pictures(report, by_round=False), *curve_pictures(report, by_round=True)]
    alone = {p.title for p in drawn if p.caption.startswith("Of the last round alone. ")}
    assert "AUROC against k" in alone
    assert "Gain against round" in {p.title for p in drawn} - alone
    assert {p.title for p in differences(report)} == {
        "AUROC, round 3 alone: one run less another",
        "Accuracy: one run less another",
    }


def test_a_mean_over_seeds_says_that_it_is_one() -> None:
    report = made_reports.several()
    (table,) = tables(tree(page(report)), "Over seeds")
    assert table[0] == ["runs", "seeds", "AUROC [95%]", "Gain [95%]"]
    assert table[1:] == [
        ["none", "3", "0.987 [0.976, 0.998]", "+0.123 [+0.112, +0.134]"],
        ["DP", "2", "0.512 [0.491, 0.533]", NONE],
    ]
    assert not tables(tree(page(replace(report, spreads=[]))), "Over seeds")
    curve = report.curves[0]
    pooled = replace(curve, points=[replace(p, runs=["a", "b"]) for p in curve.points])
    for one, said in ((curve, False), (pooled, True)):
        (picture,) = curve_pictures(replace(report, curves=[one]), by_round=False)
        assert ("another seed" in picture.caption) == said


def test_curves_with_one_name_are_told_apart_by_their_runs() -> None:
    curve = replace(made_reports.several().curves[0], label="")
    other = replace(curve, points=[replace(point, runs=["b"]) for point in curve.points])
    one, two = (
        " ".join(t.text for t in tree(page(Report("", [], curves=curves))).all("text"))
        for curves in ([curve], [curve, other])
    )
    assert "strongest adversary" in one
    assert "(none)" in two
    assert "(b)" in two


def test_a_baseline_that_two_runs_share_is_drawn_once_under_what_they_have_in_common() -> None:
    curve = replace(made_reports.several().curves[1], label="k = 1, none")
    assert curve.baseline
    other = replace(curve, label="k = 1, Sign()")
    moved = [replace(p, figure=replace(p.figure, value=0.9)) for p in curve.points]
    (table,) = tables(
        tree(page(Report("", [], curves=[curve, other, replace(other, points=moved)]))),
        "AUROC against k",
    )
    assert [row[0] for row in table[1:]] == ["k = 1, Sign()"] * 4 + ["k = 1"] * 4


def test_runs_are_called_by_what_tells_them_apart() -> None:
    one, other = (made_reports.played(name, "none") for name in ("f00", "ba2"))

    def titles(*runs: made_reports.Run) -> list[str]:
        return [h.text for h in tree(page(Report("", list(runs)))).all("h3")]

    assert titles(one, other) == ["f00", "ba2"]
    assert titles(one, replace(other, k=64)) == ["k = 16", "k = 64"]
    assert titles(one, replace(other, k=64), replace(one, defense="Sign()", name="c")) == [
        "k = 16, none",
        "k = 16, Sign()",
        "k = 64, none",
    ]


def test_more_curves_than_a_reader_tells_apart_are_several_charts_with_the_shared_baseline() -> (
    None
):
    curve, baseline = made_reports.several().curves[:2]
    many = [
        replace(one, label=f"label {number}") for number in range(7) for one in (curve, baseline)
    ]
    drawings = tree(page(Report("", [], curves=many))).all("svg")
    assert [d.all("title")[0].text for d in drawings] == [
        "AUROC against k, part 1 of 2",
        "AUROC against k, part 2 of 2",
    ]
    assert [len(d.curves()) for d in drawings] == [5, 4]
    high = replace(
        many[-2], points=[replace(p, figure=made_reports.Figure(9.0)) for p in curve.points]
    )
    drawings = tree(page(Report("", [], curves=[*many[:-2], high]))).all("svg")
    ups = [
        [t.text for t in d.all("text", "tick") if t.attributes["text-anchor"] == "end"]
        for d in drawings
    ]
    assert ups[0] == ups[1]  # one and the same upright axis
    assert "8" in ups[0]
    assert [len([c for c in d.curves() if "baseline" in c.look]) for d in drawings] == [1, 1]


def test_what_is_infinite_is_told_and_not_drawn() -> None:
    endless = made_reports.Audited(
        "natural", "pair", None, 1e-5, made_reports.Figure(math.inf), True, True
    )
    audit = replace(made_reports.played("a", "none"), audit=[endless])
    curve = made_reports.Curve(
        "sigma", "epsilon", "", False, [made_reports.Point(1.0, endless.epsilon, "a")]
    )
    root = tree(page(Report("", [audit], curves=[curve])))
    (table,) = tables(root, "Epsilon at every noise")
    assert table[1][:5] == ["no noise", "1e-05", "infinite", NONE, NONE]
    assert not [d for d in root.all("path") if "inf" in d.attributes["d"]]


def test_no_ceiling_is_shown_where_none_is_proven() -> None:
    (table,) = (t for t in tables(TREES["several"], "Bits of the secret") if len(t) == 5)
    assert [row[3:] for row in table[1:]] == [
        [NONE, "at least 0.617, no proof from above"],
        ["0.161", "at least 0.056, at most 0.161"],
        [NONE, "at least 0.553, no proof from above"],
        [NONE, "at least 0.681, no proof from above"],
    ]


def test_a_ceiling_of_all_bits_is_no_guarantee() -> None:
    run = made_reports.played("DP", "DP(clip=1, sigma=2)")
    run.information["bits_ceiling"] = replace(run.information["bits_ceiling"], value=1.0)
    assert "no guarantee for this secret" in page(Report("", [run]))


def test_runs_that_are_not_whole_say_so_and_parts_without_data_are_left_out() -> None:
    source = PAGES["nothing"]
    for run, why in (("half", "rounds without figures so far: 2"), ("torn", "row 7: it is not")):
        assert f'role="note">{run} is unfinished: ' in source
        assert source.count(why) == 2  # above all, and in what is shown of the run
    assert "row 7: it is not whole. What this run has left so far is shown." in source
    for absent in ("Utility against gain", "Curves", "Differences", "Where it leaks", "Stand-in"):
        assert absent not in source
    for absent in ("All runs", "Differences", "epsilon of the audit"):
        assert absent not in PAGES["single"]
    alone = page(Report("", REPORTS["nothing"].runs[1:2], warnings=REPORTS["nothing"].warnings[:1]))
    assert 0 < alone.index("half is unfinished") < alone.index("Verdict")
    assert alone.count("rounds without figures so far: 2") == alone.count("unfinished") == 1
    assert "Nothing is claimed" in alone


def test_stand_ins_are_said_first() -> None:
    one = replace(REPORTS["single"], warnings=REPORTS["several"].warnings)
    source = page(one)
    assert 0 < source.index("All records are a stand-in, made up.") < source.index("Verdict")
    said = re.findall("stand-in|made[ -]up", source.split("</style>")[1])
    assert said == ["stand-in", "made up", "stand-in", "made-up"]  # there, and in the facts


def test_nothing_is_said_to_be_real_that_is_no_stand_in() -> None:
    given = replace(REPORTS["single"].runs[0], standin=False)
    for report in (Report("", [given]), Report("", [given, given])):
        source = page(report)
        assert "<dd>Adult (records as given)</dd>" in source
        assert not re.search(r"\breal\b", source.split("</style>")[1])


@every_page
def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(name: str) -> None:
    source = PAGES[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)
    for element in TREES[name].all("*"):
        assert element.name not in {"script", "img", "iframe", "object"}
        assert not [attribute for attribute in element.attributes if attribute.startswith("on")]
        for target in ("src", "href"):
            assert element.attributes.get(target, "#")[:5] in {"#", "data:"} or (
                element.attributes[target].startswith("#")
            )
    assert "default-src 'none'" in PAGES[name]


def test_names_that_look_like_markup_are_text() -> None:
    assert "<script>alert" not in PAGES["several"]
    shown = [dd.text for dd in TREES["several"].all("dd")]
    assert made_reports.HOSTILE in shown
    run = replace(made_reports.played("<b>", "none"), name='"><script>', defense="</text><b>&")
    for report in (Report("</title><script>", [run]), Report("", [run, run])):
        root = tree(page(report))
        assert not root.all("script")
        assert not root.all("b")


@every_page
def test_every_drawing_says_what_it_shows(name: str) -> None:
    for drawing in TREES[name].all("svg"):
        title, told = (drawing.all(part)[0] for part in ("title", "desc"))
        assert drawing.attributes["role"] == "img"
        labels = drawing.attributes["aria-labelledby"].split()
        assert labels == [title.attributes["id"], told.attributes["id"]]
        assert title.text
        assert re.search(r"\d", told.text)


def test_the_words_of_a_curve_name_its_ends() -> None:
    told = [d.text for d in TREES["several"].all("desc")]
    assert any("none: from 0.830 at k (records of a batch) 1 to 0.980" in words for words in told)


@every_page
def test_identifiers_are_unique_and_links_lead_somewhere(name: str) -> None:
    identities = [e.attributes["id"] for e in TREES[name].all("*") if "id" in e.attributes]
    assert len(identities) == len(set(identities))
    targets = {a.attributes["href"] for a in TREES[name].all("a")}
    assert {t[1:] for t in targets if t.startswith("#")} <= set(identities)


@every_page
def test_headings_go_down_one_level_at_a_time(name: str) -> None:
    levels = [int(e.name[1]) for e in TREES[name].all("*") if re.fullmatch("h[1-6]", e.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@every_page
def test_the_same_report_is_the_same_page(name: str) -> None:
    assert page(REPORTS[name]) == PAGES[name]


@every_page
def test_columns_of_numbers_are_aligned_by_the_style(name: str) -> None:
    style = TREES[name].all("style")[0].text
    numbers = {look for table in TREES[name].all("table") for look in table.look}
    assert numbers
    assert all(f".{look} tr > :nth-child({look[1:]})" in style for look in numbers)
