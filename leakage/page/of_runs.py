"""What is said of all runs together: the verdict, a row a run, and every statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leakage.page.tables import Column, Table
from leakage.page.wording import in_words, lower, number, plain, with_limits
from leakage.reading.figures import Figure, Spread
from leakage.reading.runs import utility_of
from leakage.reading.schema import Claim, Report, Run

_FEW = 3


def verdict(report: Report, titles: Mapping[str, str]) -> list[str]:
    """What to take away first: of one run its sentences, of several how many are shown to leak.

    Args:
        report: of which.
        titles: what its runs are called, by name.
    """
    if len(report.runs) == 1:
        return report.runs[0].sentences
    if not report.claims:
        return []
    claimed = {claim.run for claim in report.claims}
    leaking = {claim.run for claim in report.claims if claim.holds}
    many = f"In {len(leaking)} of {len(claimed)} runs" if leaking else "In no run"
    said = [
        f"{many} is an adversary shown to beat the best baseline, which has no gradients but all"
        f" else that it knows (at 5% over all {len(report.claims)} statements of this report,"
        " Holm)."
    ]
    said += _most([claim for claim in report.claims if claim.holds], titles)
    if len(claimed) > len(leaking):
        said.append(
            "Where none of the listed adversaries is shown to, that is no proof that none can."
        )
    return said


def _most(claims: Sequence[Claim], titles: Mapping[str, str]) -> list[str]:
    """The largest gain of those that are claimed, in words."""
    best = max(claims, key=lambda claim: claim.gain.value or 0.0, default=None)
    if best is None or best.gain.value is None:
        return []
    return [
        f"The largest gain of these is that of {best.adversary} in the run “{titles[best.run]}”,"
        f" {best.place}: {with_limits(best.gain, signed=True)}, to an AUROC of"
        f" {with_limits(best.auroc)}."
    ]


def briefly(report: Report) -> list[Run]:
    """The runs whose first sentence stands in the verdict: audits, and all where they are few."""
    if len(report.runs) == 1:
        return []
    few = len(report.runs) <= _FEW
    return [run for run in report.runs if run.sentences and (few or run.audit)]


def summary(report: Report) -> Table:
    """A row a run: what it played, what the strongest adversary got, what the model is worth."""
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
            _epsilons(run),
            _worth(run),
            run.state,
        )
        for run in report.runs
    ]
    columns = (
        Column("run"),
        Column("data", fold=True),
        Column("secret", fold=True),
        Column("k", "number", fold=True),
        Column("defense", fold=True),
        Column("AUROC [95%]", "number", fold=True),
        Column("gain [95%]", "signed", fold=True),
        Column("leak shown, statements", fold=True),
        Column("epsilon at least", fold=True),
        Column("utility [95%]", "number", fold=True),
        Column("state", fold=True),
    )
    return Table(
        "The strongest adversary of each run, in its last round", columns, rows, "runs.csv"
    )


def spreads(report: Report) -> Table | None:
    """A row for runs that differ in the seed alone: their means; None where there are none."""
    if not report.spreads:
        return None
    groups: dict[tuple[str, ...], dict[str, Spread]] = {}
    for one in report.spreads:
        groups.setdefault(tuple(one.runs), {})[one.metric] = one
    metrics = list(dict.fromkeys(one.metric for one in report.spreads))
    rows = [
        (
            next(iter(group.values())).label or "all runs",
            len(runs),
            *(group[metric].mean if metric in group else None for metric in metrics),
            next(iter(group.values())).place,
        )
        for runs, group in groups.items()
    ]
    columns = (
        Column("runs"),
        Column("seeds", "number"),
        *(
            Column(f"{in_words(metric)} [95%]", "signed" if metric == "gain" else "number")
            for metric in metrics
        ),
        Column("adversaries saw", fold=True),
    )
    caption = "Over seeds: means, with 95% intervals for what another seed is expected to give"
    return Table(caption, columns, rows, "seeds.csv")


def _worth(run: Run) -> Figure | None:
    useful = utility_of(run)
    return useful[1] if useful else None


def _strongest(run: Run, metric: str) -> Figure | None:
    return run.strongest.figures.get(metric) if run.strongest else None


def _epsilons(run: Run) -> str:
    quoted = [(row, lower(row.epsilon)) for row in run.audit if row.headline]
    return ", ".join(
        number(low) if row.sigma is None else f"{number(low)} (sigma {plain(row.sigma)})"
        for row, low in quoted
    )


def _claimed(report: Report, run: Run) -> str:
    mine = [claim.holds for claim in report.claims if claim.run == run.name]
    return f"{'yes' if any(mine) else 'no'}, {sum(mine)} of {len(mine)}" if mine else ""


def statements(claims: Sequence[Claim], file: str) -> Table:
    """Statements with their p-values."""
    columns = (
        Column("run", fold=True),
        Column("adversary"),
        Column("knowledge", fold=True),
        Column("statement"),
        Column("p", "p"),
        Column("p after Holm", "p"),
        Column("claimed at 5%"),
    )
    rows = [
        (c.run, c.adversary, c.knowledge, c.statement, c.p, c.p_holm, "yes" if c.holds else "no")
        for c in claims
    ]
    return Table("Statements, corrected over the whole report", columns, rows, file)
