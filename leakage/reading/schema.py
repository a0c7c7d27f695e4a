"""What a report says: the JSON of `python -m leakage report --format json`, and all of its page.

Fields are only ever added under one `schema`; one that goes, or changes its meaning, is another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from leakage.reading.figures import Curve, Difference, Figure, Spread, Tradeoff

SCHEMA = "leakage-report/1"
FINISHED, UNFINISHED = "finished", "unfinished"
"""The states of a run."""
UNKNOWN = "unknown"
"""The data of a run that has left no word of them."""


@dataclass(frozen=True)
class Guesser:
    """What one adversary, or one baseline, got in one round of a run.

    Args:
        round: epochs before the release.
        rounds: `alone`, or `sum` of all rounds so far.
        knowledge: of M; `either` where there is none to know; empty for a baseline.
        adversary: its name.
        figures: by metric, as in attack.csv.
        rival: the best baseline in the same place; empty for a baseline.
        trials: how many.
        units: distinct units that they drew.
    """

    round: int
    rounds: str
    knowledge: str
    adversary: str
    figures: dict[str, Figure]
    rival: str
    trials: int
    units: int

    @property
    def when(self) -> str:
        """The round or rounds that it saw, in words."""
        if self.rounds == "alone":
            return f"round {self.round} alone"
        return f"all rounds up to {self.round} together"


@dataclass(frozen=True)
class Audited:
    """One row of audit.csv.

    Args:
        canary: what was hidden in the batch.
        estimator: of the bound, or whose theory.
        sigma: of the noise; None where M has none.
        delta: of the epsilon.
        epsilon: the figure; its `low` is what is proven.
        headline: whether it is the one to quote, as chosen before any trial.
        valid: whether it holds without assumptions.
    """

    canary: str
    estimator: str
    sigma: float | None
    delta: float
    epsilon: Figure
    headline: bool
    valid: bool


@dataclass(frozen=True)
class Run:
    """One game of a run: one secret against one defense.

    Args:
        name: short, unique in the report.
        folder: where it is.
        state: `finished`, or `unfinished` where not all that a finished run leaves is whole.
        data: the name of the data set.
        standin: whether its records are made up.
        secret: its short name.
        k: records of a batch.
        others: records of other clients in the mean.
        defense: M with its settings.
        settings: the rules of the game, by name.
        seed: of everything.
        sentences: the verdict, one claim a sentence, the strongest first.
        strongest: of the last round, of those that know of M; None where nothing was attacked.
        guessers: all of the game itself, in the order of attack.csv.
        layers: AUROC of the best one at each layer alone, by layer.
        exposed: share of right trials, or AUROC, of the most exposed units, by name.
        classes: share of right trials of each value of the secret.
        information: by metric: entropy, bits_floor, bits_ceiling, epsilon_release_secret, ...
        audit: rows of audit.csv.
        utility: of the model, by name, shares in 0..1 unless the name says otherwise.
        privacy: what training under DP has spent, by name.
        splits: records of each split.
        seconds: spent in each stage.
        versions: of the program and its libraries.
        started_as: the words of its config, for whoever runs it again.
        faults: why it is unfinished: what is missing or broken in its files, in words.
        contents: a digest of the labels, units and traits of all its records; empty if unknown.
    """

    name: str
    folder: str
    state: str
    data: str
    standin: bool
    secret: str
    k: int
    others: int
    defense: str
    settings: dict[str, object] = field(default_factory=dict)
    seed: int | None = None
    sentences: list[str] = field(default_factory=list)
    strongest: Guesser | None = None
    guessers: list[Guesser] = field(default_factory=list)
    layers: dict[str, Figure] = field(default_factory=dict)
    exposed: dict[str, Figure] = field(default_factory=dict)
    classes: dict[str, Figure] = field(default_factory=dict)
    information: dict[str, Figure] = field(default_factory=dict)
    audit: list[Audited] = field(default_factory=list)
    utility: dict[str, Figure] = field(default_factory=dict)
    privacy: dict[str, float | str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    started_as: str = ""
    faults: list[str] = field(default_factory=list)
    contents: str = ""


@dataclass(frozen=True)
class Claim:
    """One statement of the whole report, with its p-value corrected over all of them (Holm 1979).

    Args:
        run: the name of the run.
        adversary: who.
        knowledge: of M.
        statement: in words.
        p: two-sided, before the correction; 1 where the gain is not above 0.
        p_holm: after it.
        holds: whether it is claimed at 5% over the report.
        place: the round or rounds that it is about, in words.
        gain: that it is about, with its own 95% interval.
        auroc: that the gain led to.
    """

    run: str
    adversary: str
    knowledge: str
    statement: str
    p: float
    p_holm: float
    holds: bool
    place: str = ""
    gain: Figure = field(default_factory=lambda: Figure(None))
    auroc: Figure = field(default_factory=lambda: Figure(None))


@dataclass(frozen=True)
class Report:
    """All of it.

    Args:
        title: what it is about.
        runs: in the order in which they were given.
        claims: strongest first.
        frontier: all runs with a utility and a gain.
        curves: of settings in which runs, or rounds, differ.
        differences: of runs that were asked to be compared.
        spreads: of runs that differ in the seed alone.
        notes: what the reader has to know of the whole, such as several data sets.
        written: when, ISO 8601.
        version: of the program.
        schema: of this file.
        warnings: what comes before all else: runs that are not whole, and made-up records.
    """

    title: str
    runs: list[Run]
    claims: list[Claim] = field(default_factory=list)
    frontier: list[Tradeoff] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    spreads: list[Spread] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: str = ""
    version: str = ""
    schema: str = SCHEMA
    warnings: list[str] = field(default_factory=list)
