"""What is said of one run: what was attacked, by whom, and what each of them got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leakage.origin import origin
from leakage.page.picture import Entry, Picture
from leakage.page.ranges import Mark, Row, ranges
from leakage.page.tables import Column, Table
from leakage.page.wording import known, number, plain, slug, with_limits
from leakage.reading.figures import Figure
from leakage.reading.schema import UNKNOWN, Guesser, Run

Fact = tuple[str, str]


def facts(run: Run) -> list[Fact]:
    """What was attacked and by whom, a term and its words each."""
    rounds = sorted({guesser.round for guesser in run.guessers})
    names = dict.fromkeys(
        guesser.adversary
        if guesser.knowledge == "either"
        else f"{guesser.adversary} ({guesser.knowledge})"
        for guesser in run.guessers
        if guesser.knowledge
    )
    rivals = dict.fromkeys(g.adversary for g in run.guessers if not g.knowledge)
    others = f", averaged with {run.others} records of other clients" if run.others else ""
    found = [
        ("Data", run.data if run.data == UNKNOWN else f"{run.data} ({origin(run.standin)})"),
        ("Secret", run.secret),
        ("Batch", f"k = {run.k} record{'' if run.k == 1 else 's'}{others}"),
        ("Defense", run.defense),
        ("Releases", f"after {_listed([str(r) for r in rounds])} epochs" if rounds else ""),
        ("Adversaries", ", ".join(names)),
        ("Without gradients", ", ".join(rivals)),
    ]
    if run.strongest:
        units = f" that drew {run.strongest.units} distinct units"
        found.append(("Trials", f"{run.strongest.trials}{units}"))
    return [(term, words) for term, words in found if words]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def last(run: Run) -> list[Guesser]:
    """All guessers of the last round, together where rounds were put together."""
    if not run.guessers:
        return []
    end = run.strongest or run.guessers[-1]
    return [g for g in run.guessers if (g.round, g.rounds) == (end.round, end.rounds)]


def who(guesser: Guesser) -> str:
    """Somebody's name, and what is known of M."""
    if not guesser.knowledge:
        return f"{guesser.adversary}, without gradients"
    if guesser.knowledge == "either":
        return guesser.adversary
    return f"{guesser.adversary}, {guesser.knowledge}"


_SHOWN = (
    Column("AUROC [95%]", "number"),
    Column("right guesses [95%]", "number"),
    Column("gain [95%]", "signed"),
    Column("bits [95%]", "number"),
)


def _shown(guesser: Guesser) -> tuple[Figure | None, ...]:
    return tuple(guesser.figures.get(metric) for metric in ("auroc", "asr", "gain", "bits"))


def by_adversary(run: Run) -> Table:
    """The last round."""
    rows = [(g.adversary, g.knowledge, *_shown(g), g.rival) for g in last(run)]
    columns = (
        Column("adversary"),
        Column("knowledge"),
        *_SHOWN,
        Column("best guess without gradients"),
    )
    caption = f"By adversary, {last(run)[0].when}"
    return Table(caption, columns, rows, f"{slug(run.name)}-adversaries.csv")


def by_round(run: Run) -> Table:
    """All rounds."""
    columns = (
        Column("adversary"),
        Column("knowledge"),
        Column("round", "number"),
        Column("rounds"),
        *_SHOWN,
        Column("trials", "number"),
        Column("units", "number"),
    )
    rows = [
        (g.adversary, g.knowledge, g.round, g.rounds, *_shown(g), g.trials, g.units)
        for g in run.guessers
    ]
    return Table("All rounds", columns, rows, f"{slug(run.name)}-rounds.csv")


def adversaries(run: Run, identity: str) -> Picture | None:
    """AUROC of everybody in the last round."""
    found = [g for g in last(run) if known(g.figures.get("auroc", Figure(None)).value) is not None]
    if not found:
        return None
    rows = [
        Row(
            who(g),
            with_limits(g.figures["auroc"]),
            [Mark(g.figures["auroc"], 1 if not g.knowledge else 0, hollow=not g.knowledge)],
        )
        for g in found
    ]
    title = f"Who guesses how well, {found[0].when}"
    entries = [Entry("adversaries, who see the release", 0)]
    if any(not g.knowledge for g in found):
        entries.append(Entry("guesses without gradients", 1, hollow=True))
    drawing = ranges(identity, title, rows, "AUROC", reference=0.5, within=(1.0,), entries=entries)
    columns = (Column("who"), Column("AUROC [95%]", "number"))
    table = Table(
        title,
        columns,
        [(who(g), g.figures["auroc"]) for g in found],
        f"{slug(run.name)}-auroc.csv",
    )
    return Picture(title, "0.5 is chance, 1 is certainty; lines are 95% intervals.", drawing, table)


def named(
    figures: Mapping[str, Figure],
    identity: str,
    title: str,
    what: str,
    caption: str,
    file: str,
    reference: float | None,
) -> Picture | None:
    """Figures by name, such as those of each layer alone; None where there are none."""
    if all(known(figure.value) is None for figure in figures.values()):
        return None
    rows = [Row(name, with_limits(figure), [Mark(figure)]) for name, figure in figures.items()]
    drawing = ranges(
        identity, title, rows, what, reference=reference, within=(1.0,), stems=reference is not None
    )
    columns = (Column("name"), Column(what, "number"), Column("note", fold=True))
    cells = [(name, figure, figure.note) for name, figure in figures.items()]
    return Picture(title, caption, drawing, Table(title, columns, cells, file))


def spending(run: Run) -> list[Fact]:
    """What training under DP has spent."""
    return [
        (name.replace("_", " "), value if isinstance(value, str) else plain(value))
        for name, value in run.privacy.items()
    ]


def worth(run: Run) -> Table:
    """What the model can do."""
    rows = [(name.replace("_", " "), figure, figure.note) for name, figure in run.utility.items()]
    columns = (Column("utility"), Column("figure [95%]", "number"), Column("note", fold=True))
    return Table("Utility of the model", columns, rows, f"{slug(run.name)}-utility.csv")


def counts(values: Mapping[str, int]) -> str:
    """Numbers by name, in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in values.items())
