"""The settings of an audit: which neighbours, which canaries, how many trials, which bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from leakage.accounting.training import Adjacency
from leakage.audit.canaries import (
    Canary,
    CraftedCanary,
    GradientCanary,
    MislabelledCanary,
    NaturalCanary,
    RandomCanary,
)
from leakage.audit.estimators.base import Estimator, check_level, least_trials
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.credible import Credible
from leakage.audit.estimators.gaussian_curve import GaussianCurve
from leakage.audit.estimators.one_run import OneRun
from leakage.defenses import Defense, dp_of
from leakage.errors import LeakageError
from leakage.gradients.loss import LossFunction

MEMBERSHIP = "membership"
_DELTA = 1e-5


@dataclass(frozen=True)
class AuditRules:
    """The settings of an audit.

    Neighbouring batches differ in one record, the canary: in an attribute of it that is part of x
    (one value or another), or, where no attribute is named, in whether it is there at all.

    Args:
        attribute: whose value differs; where left out the audit is one of membership.
        values: the two values that it has; the two most frequent ones where left out.
        canaries: the records that are audited, each by itself; one of each kind where left out.
        k: records of a batch, the canary among them.
        rounds: observed rounds, whose releases are about the same records; round i is played on the
            weights after i epochs.
        q: the chance with which the canary takes part in a round (Poisson sampling), in (0, 1].
        background: whether the auditor knows the other records (`known`: the same in all trials) or
            only what such records are like (`unknown`: drawn anew in each trial and round).
        trials: of each canary and noise; the coin of a trial is fair.
        estimators: of epsilon; where left out Clopper-Pearson, the one-run bound, and beside them,
            under assumptions, the credible and the Gaussian one.
        confidence: of each lower bound, in (0, 1).
        delta: at which epsilon is told, in [0, 1); that of the defense, else 1e-5, where left out.
        sigmas: noise multipliers that a defense with DP is audited at beside its own.
        memory: GiB that gradients may take at once, beside the weights and the records.
        seed: of every draw of the audit.
        loss: L where it is not `training_step`: a function of the module and a batch.
        attributes: a .csv or .parquet file with a row for each record of the training loader's
            data set, in its order; where left out, the data module has a population.
        labels: the column of that table that holds the labels; of the records where left out.
        units: the column that says whose a record is; its own where left out.
    """

    attribute: str | None = None
    values: list[str] | None = None
    canaries: list[Canary] | None = None
    k: int = 64
    rounds: list[int] = field(default_factory=lambda: [0])
    q: float = 1.0
    background: Literal["known", "unknown"] = "known"
    trials: int = 10_000
    estimators: list[Estimator] | None = None
    confidence: float = 0.95
    delta: float | None = None
    sigmas: list[float] = field(default_factory=list)
    memory: float = 2.0
    seed: int = 0
    loss: LossFunction | None = None
    attributes: str | None = None
    labels: str | None = None
    units: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise LeakageError(f"audit.k: at least 1 is needed, got {self.k}")
        if not 0 < self.q <= 1:
            raise LeakageError(f"audit.q: a chance in (0, 1] is needed, got {self.q}")
        if not self.rounds or min(self.rounds) < 0 or len(set(self.rounds)) < len(self.rounds):
            raise LeakageError(
                "audit.rounds: a list of distinct numbers of epochs, each at least 0, is needed;"
                f" got {self.rounds}"
            )
        if self.background not in ("known", "unknown"):
            raise LeakageError(
                f"audit.background: 'known' and 'unknown' are known, got {self.background!r}"
            )
        if not self.memory > 0:
            raise LeakageError(f"audit.memory: GiB above 0 are needed, got {self.memory}")
        if self.attribute is None and self.values is not None:
            raise LeakageError(
                f"audit.values: {self.values} are values of no attribute; name one in"
                " audit.attribute, or leave the values out"
            )
        if self.values is not None and (len(self.values), len(set(self.values))) != (2, 2):
            raise LeakageError(
                f"audit.values: two different values of {self.attribute} are needed, got"
                f" {self.values}"
            )
        for sigma in self.sigmas:
            if not (math.isfinite(sigma) and sigma > 0):
                raise LeakageError(
                    f"audit.sigmas: finite noise multipliers above 0 are needed, got {sigma}"
                )
        if len(set(self.sigmas)) < len(self.sigmas):
            raise LeakageError(f"audit.sigmas: distinct numbers are needed, got {self.sigmas}")
        for part, names in (
            ("canaries", [canary.name for canary in self.hunted]),
            ("estimators", [judge.name for judge in self.judges]),
        ):
            if not names or len(set(names)) < len(names):
                raise LeakageError(
                    f"audit.{part}: at least one, each with a name of its own, got {names}"
                )
        self.check_trials(_DELTA if self.delta is None else self.delta)

    def check_trials(self, delta: float) -> None:
        """Refuses fewer trials than a bound needs to exceed 0 at all."""
        check_level(delta, self.gamma)
        least, name = max((least_trials(j, delta, self.gamma), j.name) for j in self.judges)
        if self.trials < least:
            raise LeakageError(
                f"audit.trials: at delta = {delta:g} and a confidence of {self.confidence:g} the"
                f" bound {name} cannot exceed 0 with fewer than {least} trials, got {self.trials};"
                f" play more, or leave {name} out of audit.estimators"
            )

    @property
    def key(self) -> str:
        """The part of the config that the rules are."""
        return "audit"

    @property
    def local(self) -> None:
        """Nobody trains before gradients are shared."""
        return None

    @property
    def gamma(self) -> float:
        """How often a lower bound may exceed the truth."""
        return 1 - self.confidence

    @property
    def adjacency(self) -> Adjacency:
        """What sets neighbours apart, as accountants call it."""
        return "add_or_remove" if self.attribute is None else "replace_one"

    @property
    def secret(self) -> str:
        """A short name for tags and tables."""
        return MEMBERSHIP if self.attribute is None else f"attribute_{self.attribute}"

    @property
    def hunted(self) -> list[Canary]:
        """The canaries."""
        if self.canaries is not None:
            return self.canaries
        kinds = (RandomCanary, NaturalCanary, MislabelledCanary, CraftedCanary, GradientCanary)
        return [kind() for kind in kinds]

    @property
    def judges(self) -> list[Estimator]:
        """Those who bound epsilon."""
        if self.estimators is not None:
            return self.estimators
        judges: list[Estimator] = [ClopperPearson(), OneRun(), Credible()]
        return judges if self.delta == 0 else [*judges, GaussianCurve()]  # which keeps none at 0

    def delta_for(self, defense: Defense) -> float:
        """The delta at which epsilon is told of a defense."""
        if self.delta is not None:
            return self.delta
        dp = dp_of(defense)
        return _DELTA if dp is None else dp.delta

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain values and words, for the files that an audit leaves."""
        values = {rule.name: getattr(self, rule.name) for rule in fields(self)}
        words: dict[str, Any] = {
            "canaries": [repr(canary) for canary in self.hunted],
            "estimators": [repr(judge) for judge in self.judges],
        }
        if self.loss is not None:
            words["loss"] = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return values | words
