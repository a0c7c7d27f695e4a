"""The charts that set runs side by side: utility against gain, and differences."""

from __future__ import annotations

from dataclasses import replace

from leakage.page.frontier import frontier
from leakage.page.names import called
from leakage.page.picture import Entry, Picture
from leakage.page.ranges import Mark, Row, ranges
from leakage.page.tables import Column, Table
from leakage.page.wording import OF_SEEDS, in_words, slug, with_limits
from leakage.reading.figures import Difference, Tradeoff
from leakage.reading.schema import Report, Run
from leakage.reading.settings import rules_of

_OTHER = ", rules of the game no. "  # of charts whose titles are the same else


def frontiers(report: Report) -> list[Picture]:
    """Utility against gain, a chart for all data and rules of the game of two runs or more."""
    runs = {run.name: run for run in report.runs}
    groups: dict[tuple[str, bool, str, int, int, str, str], list[Tradeoff]] = {}
    order = list(runs)
    for one in sorted(report.frontier, key=lambda one: order.index(one.runs[0])):
        run = runs[one.runs[0]]
        game = (run.secret, run.k, run.others, rules_of(run))
        place = (run.data, run.standin, *game, one.metric)
        groups.setdefault(place, []).append(one)
    found: list[Picture] = []
    series: dict[str, int] = {}  # a defense has one mark in all charts
    for (data, standin, secret, k, others, _, metric), group in sorted(groups.items()):
        title = f"{data}{' (stand-in)' * standin}, {secret}, k = {k}"
        title += f" + {others} of others" if others else ""
        beside = [one for one in report.frontier if one.metric == metric]
        group = _named([(one, runs[one.runs[0]]) for one in group])
        if len(group) < 2:
            continue
        if alike := sum(one.title.partition(_OTHER)[0] == title for one in found):
            title += f"{_OTHER}{alike + 1}"
        marks = [series.setdefault(one.label, len(series)) for one in group]
        drawing = frontier(f"frontier-{len(found)}", title, group, marks, beside)
        if drawing is None:
            continue
        table = Table(
            f"Utility and gain: {title}",
            (
                Column("defense"),
                Column(metric.replace("_", " "), "number"),
                Column("gain", "signed"),
                Column("on the frontier"),
                Column("run"),
            ),
            [
                (o.label, o.utility, o.gain, "yes" if o.best else "no", ", ".join(o.runs))
                for o in group
            ],
            f"frontier-{slug(title)}.csv",
        )
        caption = (
            "What the model is worth, and how much more the strongest adversary gets than the best"
            " guess without gradients. The lower right is better: to a hollow mark there is another"
            " that is better in one of them and no worse in the other. Crosses are 95% intervals"
            f"{OF_SEEDS if any(len(one.runs) > 1 for one in group) else ''}."
        )
        found.append(Picture(title, caption, drawing, table))
    return found


def _named(pairs: list[tuple[Tradeoff, Run]]) -> list[Tradeoff]:
    """The same with the shortest labels that tell them apart: what else they share is the title."""
    ways = (
        [run.defense.split("(")[0] for _, run in pairs],
        [run.defense for _, run in pairs],
        [one.label for one, _ in pairs],
    )
    names = [run.name for _, run in pairs]
    labels = next((way for way in ways if len(set(way)) == len(way)), names)
    return [replace(one, label=label) for (one, _), label in zip(pairs, labels, strict=True)]


def differences(report: Report) -> list[Picture]:
    """One run less another, a chart for every metric in every place."""
    compared = {names[0] for one in report.differences for names in (one.one, one.other)}
    titles = called([run for run in report.runs if run.name in compared])
    groups: dict[tuple[str, str], list[Difference]] = {}
    for one in report.differences:
        groups.setdefault((one.metric, one.place), []).append(one)
    found: list[Picture] = []
    for (metric, place), group in groups.items():
        title = f"{in_words(metric)}{f', {place}' * bool(place)}: one run less another"
        rows = [
            Row(
                " less ".join(titles.get(names[0], names[0]) for names in (one.one, one.other)),
                with_limits(one.figure, signed=True),
                [Mark(one.figure, 0, hollow=not one.paired)],
            )
            for one in group
        ]
        entries = [
            Entry("independent intervals", 0, hollow=True)
            if hollow
            else Entry("the same trials or records (paired)", 0)
            for hollow in sorted({not one.paired for one in group})
        ]
        drawing = ranges(
            f"difference-{len(found)}", title, rows, "difference", reference=0.0, entries=entries
        )
        table = Table(
            title,
            (
                Column("one"),
                Column("other"),
                Column("one less other", "signed"),
                Column("interval"),
                Column("note", fold=True),
            ),
            [
                (
                    ", ".join(o.one),
                    ", ".join(o.other),
                    o.figure,
                    "paired" if o.paired else "independent",
                    o.note,
                )
                for o in group
            ],
            f"{slug(title)}.csv",
        )
        seeds = OF_SEEDS if any(len(one.one) > 1 for one in group) else ""
        caption = (
            f"One run less the other with its 95% interval{seeds}; at the line they are alike."
        )
        found.append(Picture(title, caption, drawing, table))
    return found
