"""What is proven of a run: the information band, and the epsilon of an audit."""

from __future__ import annotations

from collections.abc import Sequence

from leakage.audit.names import EXACT, theory_of
from leakage.page.picture import Entry, Picture
from leakage.page.ranges import Band, Mark, Row, ranges
from leakage.page.tables import Column, Table
from leakage.page.wording import known, lower, number, plain
from leakage.reading.figures import Figure
from leakage.reading.schema import Audited, Run

NO_PROOF = "no proof from above"
_UNKNOWN = Figure(None)


def information(
    runs: Sequence[Run], titles: Sequence[str], identity: str, file: str
) -> Picture | None:
    """Bits of the secret that are proven to leak, and that are proven not to, a row a run.

    Args:
        runs: of the report.
        titles: what each of them is called; empty where it stands alone.
        identity: unique in the page.
        file: the name of the download.
    """
    pairs = zip(runs, titles, strict=True)
    named = [pair for pair in pairs if known(pair[0].information.get("entropy", _UNKNOWN).value)]
    shown = [run for run, _ in named]
    if not shown:
        return None
    title = "Bits of the secret, from below and from above"
    most = max(run.information["entropy"].value or 0 for run in shown)
    drawing = ranges(
        identity,
        title,
        [_bits(run, told) for run, told in named],
        "bits of the secret",
        within=(0.0, most),
        entries=[Entry("most bits of an adversary, with their lower limit", 0)],
    )
    table = Table(
        title,
        (
            Column("run", fold=True),
            Column("entropy", "number"),
            Column("proven floor", "number"),
            Column("proven ceiling", "number"),
            Column("what is proven"),
        ),
        [(run.name, *_values(run), _said(run)) for run in shown],
        file,
    )
    caption = (
        "The filled band is where the truth provably lies; a dashed one goes on to the entropy of"
        " the secret, the tick at the end, because nothing is proven from above."
    )
    return Picture(title, caption, drawing, table)


def _values(run: Run) -> tuple[float | None, float | None, float | None]:
    """Entropy, proven floor and proven ceiling."""
    entropy, floor, ceiling = (
        known(run.information.get(metric, _UNKNOWN).value)
        for metric in ("entropy", "bits_floor", "bits_ceiling")
    )
    return entropy, floor, ceiling


def _said(run: Run) -> str:
    entropy, floor, ceiling = _values(run)
    least = f"at least {number(floor)}" if floor else "no proof from below"
    if ceiling is None:
        return f"{least}, {NO_PROOF}"
    if entropy is not None and ceiling >= entropy - 1e-9:
        return f"{least}, no guarantee for this secret"
    return f"{least}, at most {number(ceiling)}"


def _bits(run: Run, title: str) -> Row:
    entropy, floor, ceiling = _values(run)
    whole = entropy or 0.0
    low = floor or 0.0
    high = whole if ceiling is None else min(max(ceiling, low), whole)
    band = Band(low, high, whole, proven=ceiling is not None)
    bits = _most_bits(run)
    label = title or f"of {number(entropy)} bits"
    return Row(label, _said(run), [Mark(bits)] if bits else [], band)


def _most_bits(run: Run) -> Figure | None:
    """The most that an adversary got from all that was seen at the end, as the floor is."""
    seen = [g for g in run.guessers if g.knowledge not in ("", "static") and "bits" in g.figures]
    end = [
        g.figures["bits"] for g in seen if (g.round, g.rounds) == (seen[-1].round, seen[-1].rounds)
    ]
    return max(end, key=lambda bits: known(bits.value) or 0.0, default=None)


def bounds(run: Run) -> list[tuple[str, Figure]]:
    """All of the information view, by name."""
    return [(name.replace("_", " "), figure) for name, figure in run.information.items()]


def audit(run: Run, identity: str, file: str) -> Picture | None:
    """Epsilon at every noise: proven at least, what the pair has, what DP proves at most."""
    quoted = [row for row in run.audit if row.headline]
    if not quoted:
        return None
    title = "Epsilon at every noise, from below and from above"
    cells = [_epsilons(run, row) for row in quoted]
    rows = []
    for row, (at_least, pair, at_most) in zip(quoted, cells, strict=True):
        noise = "no noise" if row.sigma is None else f"sigma = {plain(row.sigma)}"
        marks = [Mark(Figure(at_most), 2, hollow=True), Mark(Figure(pair), 1, hollow=True)]
        rows.append(Row(noise, _range(at_least, at_most), [*marks, Mark(Figure(at_least), 0)]))
    drawing = ranges(
        identity,
        title,
        rows,
        "epsilon",
        within=(0.0,),
        entries=[
            Entry("proven at least", 0),
            Entry("this pair has", 1, hollow=True),
            Entry("DP proves at most", 2, hollow=True),
        ],
    )
    table = Table(
        title,
        (
            Column("noise"),
            Column("delta"),
            Column("proven at least", "number"),
            Column("this pair has", "number"),
            Column("DP proves at most", "number"),
            Column("canary"),
            Column("estimator"),
            Column("note", fold=True),
        ),
        [
            (drawn.label, plain(row.delta), *three, row.canary, row.estimator, row.epsilon.note)
            for drawn, row, three in zip(rows, quoted, cells, strict=True)
        ],
        file,
    )
    caption = (
        "What was chosen to be quoted before any trial. A bound from below that is small does not"
        " prove safety; one above what DP proves shows that the noise is not the declared one."
    )
    return Picture(title, caption, drawing, table)


def _epsilons(run: Run, row: Audited) -> tuple[float | None, float | None, float | None]:
    """Proven at least, of this pair, and at most by DP."""
    found = {
        (other.estimator, other.canary): other.epsilon.value
        for other in run.audit
        if other.sigma == row.sigma
    }
    return (
        lower(row.epsilon),
        found.get((EXACT, row.canary)),
        found.get((theory_of(run.secret), "")),
    )


def _range(at_least: float | None, at_most: float | None) -> str:
    most = "" if at_most is None else f", at most {number(at_most)}"
    return f"at least {number(at_least)}{most}"


def all_epsilons(run: Run, file: str) -> Table:
    """Every row of the audit."""
    columns = (
        Column("canary"),
        Column("estimator"),
        Column("sigma", "number"),
        Column("delta"),
        Column("epsilon", "number"),
        Column("quoted"),
        Column("without assumptions"),
        Column("note", fold=True),
    )
    rows = [
        (
            row.canary or "all pairs",
            row.estimator,
            row.sigma,
            plain(row.delta),
            row.epsilon,
            "yes" if row.headline else "",
            "yes" if row.valid else "no",
            row.epsilon.note,
        )
        for row in run.audit
    ]
    return Table("Every epsilon of the audit", columns, rows, file)
