"""The rules of a game: who guesses what from which releases, with which knowledge."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import joblib

from leakage.adversaries import (
    Adversary,
    BoostedTrees,
    Classifier,
    Identifier,
    LikelihoodRatio,
    LinearDiscriminant,
    NearestMean,
    Ordinal,
    Prototypes,
    RandomForest,
    Regression,
    Surface,
)
from leakage.adversaries.views import Whole
from leakage.defenses import Defense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import LossFunction
from leakage.gradients.updates import Local
from leakage.idle import IDLE
from leakage.population import Population
from leakage.randomness import torch_generator
from leakage.secrets import Distribution, Membership, Secret, Sizes, TraitSecret, User
from leakage.shadow import fewer_shadow_records, shifted_shadow

FREE = (*IDLE, "rounds")
"""The rules that change no figure of a round."""


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
        adversaries: those who guess; where left out, the strong ones that the secret is for.
        layers: glob patterns over parameter names: what the adversaries see of a release.
        shadow_records: of the shadow records, how many the adversary has; all where left out.
        shadow_shift: a trait of the records, and the shares that values of it have among the
            adversary's; those of the population where left out.
        shadow_k: what the adversary takes k for; k itself where left out.
        local_steps: steps of plain SGD that a client takes on its k records before it shares what
            they changed (FedAvg); 0: it shares the gradient.
        local_lr: their learning rate.
        local_batch: records of a step; all k where left out.
        curve_k: further k at which the last observed round is played, for the aggregation curve.
        curve_clients: further numbers of clients of k records each, the attacked one included.
        layer_map: whether the AUROC of each layer alone is found, in the last observed round.
        memory: GiB that gradients may take at once, beside the weights and the records.
        cores: that gradients and adversaries may use; 0: all that the process may use.
        background: whether rounds are played beside training, in a process of their own, and with
            what training leaves of the cores; the figures are the same.
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
    adversaries: list[Adversary] | None = None
    layers: list[str] = field(default_factory=lambda: ["*"])
    shadow_records: int | None = None
    shadow_shift: dict[str, dict[str, float]] | None = None
    shadow_k: int | None = None
    local_steps: int = 0
    local_lr: float = 0.01
    local_batch: int | None = None
    curve_k: list[int] = field(default_factory=list)
    curve_clients: list[int] = field(default_factory=list)
    layer_map: bool = False
    memory: float = 2.0
    cores: int = 0
    background: bool = True
    known: Literal["nothing", "features"] = "nothing"
    seed: int = 0
    loss: LossFunction | None = None
    attributes: str | None = None
    labels: str | None = None
    units: str | None = None

    @property
    def key(self) -> str:
        """The part of the config that the rules are."""
        return "attack"

    def __post_init__(self) -> None:
        leasts = {"k": 1, "shadow_k": 1, "others": 0, "trials": 2, "cores": 0, "local_steps": 0}
        for key, least in leasts.items():
            value = getattr(self, key)
            if value is not None and value < least:
                raise LeakageError(f"attack.{key}: at least {least} is needed, got {value}")
        for key in ("curve_k", "curve_clients"):
            values = getattr(self, key)
            if len(set(values)) < len(values) or min(values, default=1) < 1:
                raise LeakageError(
                    f"attack.{key}: distinct numbers of at least 1 are needed, got {values}"
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
        _ = self.local  # refuses its settings
        names = [adversary.name for adversary in self.players]
        if not names or len(set(names)) < len(names):
            raise LeakageError(
                f"attack.adversaries: at least one, each with a name of its own, got {names}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Every rule by name, as plain values and words, for the files that a run leaves."""
        values = {rule.name: getattr(self, rule.name) for rule in fields(self)}
        words = {"secret": repr(self.secret), "adversaries": [repr(a) for a in self.players]}
        if self.loss is not None:
            words["loss"] = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return values | words

    @property
    def players(self) -> list[Adversary]:
        """Those who guess."""
        if self.adversaries is not None:
            return self.adversaries
        if isinstance(self.secret, User):
            return [Prototypes(), LinearDiscriminant(), NearestMean()]
        if isinstance(self.secret, Membership):
            return [LikelihoodRatio(), RandomForest()]
        if isinstance(self.secret, Distribution):
            forest = RandomForest()
            return [Ordinal(forest), forest, Regression(forest)]
        return [RandomForest(), BoostedTrees()]

    @property
    def sizes(self) -> Sizes:
        """How many records are averaged, and how many the adversary believes are."""
        return Sizes(self.k, self.others, self.shadow_k or self.k)

    @property
    def local(self) -> Local | None:
        """What a client does before it shares; None where it shares the gradient."""
        if not self.local_steps:
            return None
        return Local(self.local_steps, self.local_lr, self.local_batch)

    @property
    def aims_at_worst(self) -> bool:
        """Whether the target is the record that is farthest from all."""
        return isinstance(self.secret, Membership) and self.secret.target == "worst"

    @property
    def knows_features(self) -> bool:
        """Whether phi(z) is the adversaries' own knowledge."""
        told = self.secret.has_targets and not self.secret.reveals_targets
        return told or self.known == "features"

    @property
    def workers(self) -> int:
        """How many adversaries are fitted at a time."""
        return self.cores or joblib.cpu_count()

    @property
    def mapper(self) -> Adversary:
        """Who looks at each layer alone: the first that learns from any entries."""
        learners = [a for a in self.players if isinstance(a, Classifier | Identifier)]
        return learners[0] if learners else RandomForest()

    def curve(self) -> list[Game]:
        """The same game at each other k and number of clients of the aggregation curve."""
        once = replace(self, rounds=[max(self.rounds)], curve_k=[], curve_clients=[])
        once = replace(once, layer_map=False)
        at_k = [replace(once, k=k) for k in self.curve_k if k != self.k]
        crowds = [replace(once, others=(clients - 1) * self.k) for clients in self.curve_clients]
        return at_k + [game for game in crowds if game.others != self.others]

    def shadowed(self, population: Population) -> Population:
        """The population with the shadow records that the adversary has."""
        if self.shadow_shift is not None:
            generator = torch_generator(self.seed, "shadow", "shift")
            population = shifted_shadow(population, self.shadow_shift, generator)
        if self.shadow_records is not None:
            generator = torch_generator(self.seed, "shadow", "records")
            population = fewer_shadow_records(population, self.shadow_records, generator)
        return population

    def check(self, population: Population, layout: Layout, defense: Defense) -> Surface:
        """Refuses a game that cannot be played, before training; returns what adversaries know.

        Args:
            population: the records, the shadow ones as the adversary has them.
            layout: of a whole gradient.
            defense: M.
        """
        self._check_local(defense)
        if self.known == "features" and self.secret.reveals_targets:
            raise LeakageError(
                "attack.known: who knows the records of a batch knows whether the target is one of"
                " them; leave it at 'nothing' with the secret Membership"
            )
        self.secret.check(population, self.sizes)
        seats = self.secret.seats(population, self.sizes)
        c = len(seats.support)
        for key in ("shadow_batches", "calibrate_batches"):
            if getattr(self, key) < 2 * c:
                raise LeakageError(
                    f"attack.{key}: {getattr(self, key)} batches are fewer than 2 for each of the"
                    f" {c} values of {self.secret.name}; at least {2 * c} are needed"
                )
        visible, _ = layout.select(self.layers, "attack.layers")
        one_hot: tuple[int, ...] = ()
        if isinstance(self.secret, TraitSecret):
            one_hot = self.secret.one_hot(population.traits[self.secret.attribute])
        surface = Surface(
            visible,
            c,
            one_hot,
            population.features.shape[1],
            self.secret.levels,
            self.sizes.shadow_k + self.others,
            self.secret.reveals_targets,
        )
        batches = self.shadow_batches + self.calibrate_batches + self.trials
        gib = 4 * visible.p * batches / 2**30
        about_users = seats.enrolled is not None
        for adversary in self.players:
            if isinstance(adversary, Identifier) != about_users:
                raise LeakageError(
                    f"attack.adversaries: {adversary.name} is"
                    f" {'not for' if about_users else 'only for'} the secret User; use"
                    f" {', '.join(a.name for a in replace(self, adversaries=None).players)}"
                )
            adversary.check(surface)
            if isinstance(adversary.view(surface, self.seed), Whole) and gib > self.memory:
                raise LeakageError(
                    f"attack.memory: {adversary.name} looks at whole releases, {batches} of"
                    f" {visible.p} entries, which take {gib:.3g} GiB, but {self.memory:g} are"
                    " allowed; give it a view, let it see fewer layers, or allow more"
                )
        return surface

    def _check_local(self, defense: Defense) -> None:
        """Refuses updates of clients that the records or the defense do not allow."""
        if self.local is None:
            return
        if defense.record_wise:
            raise LeakageError(
                f"attack.local_steps: {defense.label} maps the gradient of each record, but a"
                " client that takes steps of its own shares none; use 0 steps or another defense"
            )
        for key in ("k", "shadow_k"):
            k = getattr(self.sizes, key)
            if self.others % k:
                raise LeakageError(
                    f"attack.others: with local steps the others are clients of {key} = {k}"
                    f" records each, got {self.others}; the nearest number is"
                    f" {round(self.others / k) * k}"
                )
            if self.local_batch is not None and self.local_batch > k:
                raise LeakageError(
                    f"attack.local_batch: a client has {key} = {k} records, got {self.local_batch}"
                )
