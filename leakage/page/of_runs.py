"""What is said of all runs together: who leaks, at which price, and along which curves."""

from __future__ import annotations

from leakage.page.frontier import frontier
from leakage.page.picture import Entry, Picture
from leakage.page.plane import Line, curves
from leakage.page.ranges import Mark, Row, ranges
from leakage.page.svg import SERIES
from leakage.page.tables import Column, Table
from leakage.page.wording import slug, with_limits
from leakage.reading.schema import Curve, Difference, Figure, Report, Run, Tradeoff

_METRICS = {
    "auroc": "AUROC",
    "asr": "Share of right guesses",
    "gain": "Gain",
    "bits": "Bits",
    "epsilon": "Epsilon, proven at least",
}
_AGAINST = {
    "round": "round (epochs before the release)",
    "k": "k (records of a batch)",
    "clients": "clients in the mean",
    "others": "records of other clients in the mean",
    "sigma": "sigma (noise multiplier)",
}
_NOTHING = {"auroc": 0.5, "gain": 0.0, "bits": 0.0, "epsilon": 0.0}


def verdict(report: Report) -> list[str]:
    """What to take away first: of one run its sentences, of several how many are shown to leak."""
    if len(report.runs) == 1:
        return report.runs[0].sentences
    if not report.claims:
        return []
    claimed = {claim.run for claim in report.claims}
    leaking = {claim.run for claim in report.claims if claim.holds}
    many = f"In {len(leaking)} of {len(claimed)} runs" if leaking else "In no run"
    said = [
        f"{many} is an adversary shown to beat the best guess without gradients (at 5% over all"
        f" {len(report.claims)} statements of this report, Holm)."
    ]
    said += _most([run for run in report.runs if run.name in leaking])
    if len(claimed) > len(leaking):
        said.append(
            "Where none of the listed adversaries is shown to, that is no proof that none can."
        )
    if torn := [run for run in report.runs if run.state != "finished"]:
        are = "One run is" if len(torn) == 1 else f"{len(torn)} runs are"
        said.append(f"{are} not whole; what is there is shown below.")
    return said


def _most(runs: list[Run]) -> list[str]:
    """Who gained most, in words."""
    found = [(run.name, run.strongest) for run in runs if run.strongest]
    gains = [one.figures.get("gain", Figure(None)) for _, one in found]
    values = [-1.0 if gain.value is None else gain.value for gain in gains]
    if not values:
        return []
    most = values.index(max(values))
    name, strongest = found[most]
    return [
        f"Most was gained by {strongest.adversary} in the run “{name}”:"
        f" {with_limits(gains[most], signed=True)}, to an AUROC of"
        f" {with_limits(strongest.figures.get('auroc'))}."
    ]


def in_words(metric: str) -> str:
    """The name of a metric, as it is read."""
    return _METRICS.get(metric, metric.replace("_", " ").capitalize())


def summary(report: Report) -> Table:
    """A row a run: what it played, what the strongest adversary got, what the model is worth."""
    prices = {one.run: one for one in report.frontier}
    rows = [
        (
            run.name,
            f"{run.data} (stand-in)" if run.standin else run.data,
            run.secret,
            f"{run.k} + {run.others} of others" if run.others else run.k,
            run.defense,
            _strongest(run, "auroc"),
            _strongest(run, "gain"),
            _claimed(report, run),
            prices[run.name].utility if run.name in prices else None,
            run.state,
        )
        for run in report.runs
    ]
    columns = (
        Column("run"),
        Column("data"),
        Column("secret"),
        Column("k", "number"),
        Column("defense"),
        Column("AUROC [95%]", "number"),
        Column("gain [95%]", "signed"),
        Column("leak shown"),
        Column("utility [95%]", "number"),
        Column("state"),
    )
    return Table(
        "The strongest adversary of each run, in its last round", columns, rows, "runs.csv"
    )


def _strongest(run: Run, metric: str) -> Figure | None:
    return run.strongest.figures.get(metric) if run.strongest else None


def _claimed(report: Report, run: Run) -> str:
    mine = [claim.holds for claim in report.claims if claim.run == run.name]
    return ("yes" if any(mine) else "no") if mine else ""


def claims(report: Report) -> Table:
    """Every statement with its p-values."""
    columns = (
        Column("run"),
        Column("adversary"),
        Column("knowledge"),
        Column("statement"),
        Column("p", "p"),
        Column("p after Holm", "p"),
        Column("claimed at 5%"),
    )
    rows = [
        (c.run, c.adversary, c.knowledge, c.statement, c.p, c.p_holm, "yes" if c.holds else "no")
        for c in report.claims
    ]
    return Table("Statements of the whole report, corrected together", columns, rows, "claims.csv")


def frontiers(report: Report) -> list[Picture]:
    """Utility against gain, a chart for every data set, secret and k of two runs or more."""
    runs = {run.name: run for run in report.runs}
    groups: dict[tuple[str, str, int, int, str], list[Tradeoff]] = {}
    for one in report.frontier:
        run = runs[one.run]
        place = (run.data, run.secret, run.k, run.others, one.metric)
        groups.setdefault(place, []).append(one)
    found: list[Picture] = []
    for (data, secret, k, others, metric), group in groups.items():
        title = f"{data}, {secret}, k = {k}{f' + {others} of others' if others else ''}"
        beside = [one for one in report.frontier if one.metric == metric]
        drawing = frontier(f"frontier-{len(found)}", title, group, beside)
        if drawing is None or len(group) < 2:
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
            [(o.label, o.utility, o.gain, "yes" if o.best else "no", o.run) for o in group],
            f"frontier-{slug(title)}.csv",
        )
        caption = (
            "What the model is worth, and how much more the strongest adversary gets than the best"
            " guess without gradients. The lower right is better; crosses are 95% intervals."
        )
        found.append(Picture(title, caption, drawing, table))
    return found


def curve_pictures(report: Report) -> list[Picture]:
    """A chart for every setting and metric, of six labels at most."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        if any(point.figure.value is not None for point in curve.points):
            groups.setdefault((curve.against, curve.metric), []).append(curve)
    found: list[Picture] = []
    for (against, metric), group in groups.items():
        labels = list(dict.fromkeys(curve.label for curve in group))
        parts = [labels[start : start + SERIES] for start in range(0, len(labels), SERIES)]
        for number, part in enumerate(parts, 1):
            title = f"{in_words(metric)} against {against.replace('_', ' ')}"
            if len(parts) > 1:
                title += f", part {number} of {len(parts)}"
            mine = [curve for curve in group if curve.label in part]
            found.append(_curve_picture(f"curve-{len(found)}", title, mine, part))
    return found


def _curve_picture(identity: str, title: str, group: list[Curve], labels: list[str]) -> Picture:
    against, metric = group[0].against, group[0].metric
    lines = [
        Line(
            curve.label,
            [(point.x, point.figure) for point in curve.points],
            labels.index(curve.label),
            curve.baseline,
        )
        for curve in group
    ]
    across = _AGAINST.get(against, against.replace("_", " "))
    up = in_words(metric)
    drawing = curves(identity, title, lines, across, up, reference=_NOTHING.get(metric))
    table = Table(
        title,
        (
            Column("label"),
            Column("who"),
            Column(against, "number"),
            Column(metric, "number"),
            Column("run"),
        ),
        [
            (
                curve.label,
                "best guess without gradients" if curve.baseline else "strongest adversary",
                int(point.x) if float(point.x).is_integer() else point.x,
                point.figure,
                point.run,
            )
            for curve in group
            for point in curve.points
        ],
        f"{slug(title)}.csv",
    )
    return Picture(title, "Bands and whiskers are 95% intervals.", drawing, table)


def differences(report: Report) -> list[Picture]:
    """One run less another, a chart for every metric."""
    groups: dict[str, list[Difference]] = {}
    for one in report.differences:
        groups.setdefault(one.metric, []).append(one)
    found: list[Picture] = []
    for metric, group in groups.items():
        title = f"{in_words(metric)}: one run less another"
        rows = [
            Row(
                f"{one.one} less {one.other}",
                with_limits(one.figure, signed=True),
                [Mark(one.figure, 0, hollow=not one.paired)],
            )
            for one in group
        ]
        entries = [Entry("the same trials or records (paired)", 0)]
        if not all(one.paired for one in group):
            entries.append(Entry("independent intervals", 0, hollow=True))
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
                Column("note"),
            ),
            [
                (o.one, o.other, o.figure, "paired" if o.paired else "independent", o.note)
                for o in group
            ],
            f"{slug(title)}.csv",
        )
        caption = "One run less the other with its 95% interval; at the line they are alike."
        found.append(Picture(title, caption, drawing, table))
    return found
