"""All that the page shows of one run, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leakage.page import of_run, proofs
from leakage.page.of_runs import statements
from leakage.page.picture import Picture
from leakage.page.tables import Column, Table
from leakage.page.wording import slug, spent, with_limits
from leakage.reading.schema import FINISHED, Claim, Run


@dataclass(frozen=True)
class View:
    """One run as it is shown; None, or nothing in a list, is left out.

    Args:
        run: of which.
        anchor: its identifier in the page.
        title: what it is called.
        headline: one line.
        trouble: why not all is there; empty for a finished run.
        facts: what was attacked and by whom.
        by_adversary: the last round.
        statements: what is claimed of the run.
        by_round: all of them.
        adversaries: the last round, drawn.
        information: what is proven of the secret.
        bounds: the same, all of it by name.
        audit: epsilon at every noise.
        epsilons: every row of the audit.
        where: layers, units and classes.
        worth: of the model.
        spending: of differential privacy.
        provenance: where the figures come from.
        settings: the rules of the game.
    """

    run: Run
    anchor: str
    title: str
    headline: str
    trouble: str
    facts: list[of_run.Fact]
    by_adversary: Table | None
    statements: Table | None
    by_round: Table | None
    adversaries: Picture | None
    information: Picture | None
    bounds: Table | None
    audit: Picture | None
    epsilons: Table | None
    where: list[Picture]
    worth: Table | None
    spending: list[of_run.Fact]
    provenance: list[of_run.Fact]
    settings: list[of_run.Fact]


def view_of(run: Run, title: str, anchor: str, claims: Sequence[Claim]) -> View:
    """What is shown of a run.

    Args:
        run: of which.
        title: what it is called.
        anchor: an identifier that no other run of the page has.
        claims: of the whole report.
    """
    name = slug(run.name) or anchor
    mine = [claim for claim in claims if claim.run == run.name]
    return View(
        run=run,
        anchor=anchor,
        title=title,
        headline=_headline(run),
        trouble=_trouble(run),
        facts=of_run.facts(run),
        by_adversary=of_run.by_adversary(run) if run.guessers else None,
        statements=statements(mine, f"{name}-statements.csv") if mine else None,
        by_round=of_run.by_round(run) if run.guessers else None,
        adversaries=of_run.adversaries(run, f"{anchor}-adversaries"),
        information=proofs.information([run], [""], f"{anchor}-information", f"{name}-bits.csv"),
        bounds=_bounds(run, name),
        audit=proofs.audit(run, f"{anchor}-audit", f"{name}-epsilon.csv"),
        epsilons=proofs.all_epsilons(run, f"{name}-audit.csv") if run.audit else None,
        where=_where(run, anchor, name),
        worth=of_run.worth(run) if run.utility else None,
        spending=of_run.spending(run),
        provenance=_provenance(run),
        settings=[(key, str(value)) for key, value in run.settings.items()],
    )


def _headline(run: Run) -> str:
    said = [f"{run.name}: {run.data}, {run.secret}, k = {run.k}, {run.defense}"]
    if run.state != FINISHED:
        said.append(run.state)
    if run.strongest and "auroc" in run.strongest.figures:
        said.append(f"AUROC {with_limits(run.strongest.figures['auroc'])}")
    return "; ".join(said)


def _trouble(run: Run) -> str:
    if run.state == FINISHED:
        return ""
    return f"{'; '.join(run.faults) or run.state}. What this run has left so far is shown."


def _bounds(run: Run, name: str) -> Table | None:
    if not run.information:
        return None
    columns = (Column("what is proven"), Column("figure", "number"), Column("note", fold=True))
    rows = [(what, figure, figure.note) for what, figure in proofs.bounds(run)]
    return Table("From below and from above", columns, rows, f"{name}-information.csv")


def _where(run: Run, anchor: str, name: str) -> list[Picture]:
    found = [
        of_run.named(
            run.layers,
            f"{anchor}-layers",
            "Layer map",
            "AUROC",
            "AUROC of the strongest adversary when a layer is all that it sees; 0.5 is chance.",
            f"{name}-layers.csv",
            0.5,
        ),
        of_run.named(
            run.classes,
            f"{anchor}-classes",
            "By value of the secret",
            "share of right guesses",
            "The share of trials guessed right, of those that hold each value.",
            f"{name}-classes.csv",
            None,
        ),
        of_run.named(
            {f"unit {n}" if n.isdigit() else n: found for n, found in run.exposed.items()},
            f"{anchor}-exposed",
            "The most exposed units",
            "share of right guesses, or AUROC",
            "Units whose secret is guessed best. Their lower limits hold all at once.",
            f"{name}-exposed.csv",
            None,
        ),
    ]
    return [picture for picture in found if picture is not None]


def _provenance(run: Run) -> list[of_run.Fact]:
    seconds = ", ".join(f"{stage} {spent(time)}" for stage, time in run.seconds.items())
    found = [
        ("Folder", run.folder),
        ("Seed", "" if run.seed is None else str(run.seed)),
        ("Splits", of_run.counts(run.splits)),
        ("Time", f"{seconds}; {spent(sum(run.seconds.values()))} in all" if seconds else ""),
        ("Versions", ", ".join(f"{name} {number}" for name, number in run.versions.items())),
    ]
    return [(term, words) for term, words in found if words]
