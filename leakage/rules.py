"""The rules of a game: who guesses what from which releases, with which knowledge."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import joblib

from leakage.adversaries import Adversary, BoostedTrees, Classifier, RandomForest, Surface
from leakage.adversaries.views import Whole
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import LossFunction
from leakage.population import Population
from leakage.secrets import Secret


@dataclass(frozen=True)
class Game:
    """The settings of a game.

    Args:
        secret: the sensitive variable.
        k: records of a batch.
        others: records of other clients that are averaged with them (secure aggregation).
        rounds: observed rounds; round i is played on the weights after i epochs.
        batches: `fresh` batches in every round, or `persistent` ones: a client keeps its data.
        shadow_batches: on which an adversary is fitted, per round.
        calibrate_batches: on which it is calibrated and thresholds are set; at least 1,000
            without the secret make TPR at 1% FPR a figure.
        trials: batches of the challenger.
        adversaries: those who guess; the default pair is the strong one.
        layers: glob patterns over parameter names: what the adversaries see of a release.
        layer_map: whether the AUROC of each layer alone is found, in the last observed round.
        memory: GiB that gradients may take at once, beside the weights and the records.
        cores: that adversaries are fitted on side by side; 0: all that the process may use.
        known: `features`: the adversaries know phi(z), the other features and the label of each
            record; a secret with a target tells them the target's in any case.
        seed: of every draw in the game.
        loss: L where it is not `training_step`: a function of the module and a batch.
        attributes: a .csv or .parquet file with a row for each record of the training loader's
            data set, in its order; where left out, the data module has a population.
        labels: the column of that table that holds the labels; of the records where left out.
        units: the column that says whose a record is; its own where left out.
    """

    secret: Secret
    k: int = 16
    others: int = 0
    rounds: list[int] = field(default_factory=lambda: [0, 1, 2])
    batches: Literal["fresh", "persistent"] = "fresh"
    shadow_batches: int = 1500
    calibrate_batches: int = 2000
    trials: int = 1000
    adversaries: list[Adversary] = field(default_factory=lambda: [RandomForest(), BoostedTrees()])
    layers: list[str] = field(default_factory=lambda: ["*"])
    layer_map: bool = False
    memory: float = 2.0
    cores: int = 0
    known: Literal["nothing", "features"] = "nothing"
    seed: int = 0
    loss: LossFunction | None = None
    attributes: str | None = None
    labels: str | None = None
    units: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("k", 1), ("others", 0), ("trials", 2), ("cores", 0)):
            if getattr(self, key) < least:
                raise LeakageError(
                    f"attack.{key}: at least {least} is needed, got {getattr(self, key)}"
                )
        if not self.memory > 0:
            raise LeakageError(f"attack.memory: GiB above 0 are needed, got {self.memory}")
        if not self.rounds or min(self.rounds) < 0 or len(set(self.rounds)) < len(self.rounds):
            raise LeakageError(
                "attack.rounds: a list of distinct numbers of epochs, each at least 0, is needed;"
                f" got {self.rounds}"
            )
        if self.batches not in ("fresh", "persistent"):
            raise LeakageError(
                f"attack.batches: 'fresh' and 'persistent' are known, got {self.batches!r}"
            )
        if self.known not in ("nothing", "features"):
            raise LeakageError(
                f"attack.known: 'nothing' and 'features' are known, got {self.known!r}"
            )
        names = [adversary.name for adversary in self.adversaries]
        if not names or len(set(names)) < len(names):
            raise LeakageError(
                f"attack.adversaries: at least one, each with a name of its own, got {names}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Every rule by name, as plain values and words, for the files that a run leaves."""
        values = {rule.name: getattr(self, rule.name) for rule in fields(self)}
        words = {"secret": repr(self.secret), "adversaries": [repr(a) for a in self.adversaries]}
        if self.loss is not None:
            words["loss"] = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return values | words

    @property
    def knows_features(self) -> bool:
        """Whether phi(z) is the adversaries' own knowledge."""
        return self.secret.targets or self.known == "features"

    @property
    def workers(self) -> int:
        """How many adversaries are fitted at a time."""
        return self.cores or joblib.cpu_count()

    @property
    def mapper(self) -> Adversary:
        """Who looks at each layer alone: the first that learns from any entries."""
        learners = [a for a in self.adversaries if isinstance(a, Classifier)]
        return learners[0] if learners else RandomForest()

    def check(self, population: Population, layout: Layout) -> Surface:
        """Refuses a game that cannot be played, before training; returns what adversaries know."""
        self.secret.check(population, self.k, self.others)
        c = len(self.secret.support(population))
        for key in ("shadow_batches", "calibrate_batches"):
            if getattr(self, key) < 2 * c:
                raise LeakageError(
                    f"attack.{key}: {getattr(self, key)} batches are fewer than 2 for each of the"
                    f" {c} values of {self.secret.attribute}; at least {2 * c} are needed"
                )
        visible, _ = layout.select(self.layers, "attack.layers")
        one_hot = self.secret.one_hot(population.traits[self.secret.attribute])
        surface = Surface(visible, c, one_hot, population.features.shape[1])
        batches = self.shadow_batches + self.calibrate_batches + self.trials
        gib = 4 * visible.p * batches / 2**30
        for adversary in self.adversaries:
            adversary.check(surface)
            if isinstance(adversary.view(surface, self.seed), Whole) and gib > self.memory:
                raise LeakageError(
                    f"attack.memory: {adversary.name} looks at whole releases, {batches} of"
                    f" {visible.p} entries, which take {gib:.3g} GiB, but {self.memory:g} are"
                    " allowed; give it a view, let it see fewer layers, or allow more"
                )
        return surface
