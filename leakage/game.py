"""The game between a challenger and adversaries, its steps numbered as in Li et al. (2024).

1. The challenger initialises theta_0 and trains on the private set D: the Trainer does.
2. It draws a ~ P(a), and a batch D_a of k records ~ P(x, y | a).
3. In an observed round it computes g = grad L(theta, D_a) and releases g~ = M(g).
4. The adversary, fitted on the releases of shadow batches, answers a posterior over a.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leakage.adversaries.base import checked_scores
from leakage.adversaries.baselines import (
    IMPUTATION,
    LABELS,
    PRIOR,
    Evidence,
    fit_baseline,
    train_witness,
)
from leakage.adversaries.posterior import Answer, Observed, answer
from leakage.defenses import Defense, NoDefense
from leakage.defenses.checks import check_defense, checked_release
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.metrics.grading import Truth, grade
from leakage.metrics.intervals import Draws, Estimate
from leakage.metrics.ranking import auroc
from leakage.population import Population
from leakage.randomness import derived_seed, torch_generator
from leakage.rules import Game
from leakage.secrets import Secret
from leakage.secrets.base import draw_beside, pool_of

FIT, CALIBRATE, CHALLENGE = "shadow_fit", "shadow_calibrate", "challenge"
STATIC, ADAPTIVE = "static", "adaptive"


@dataclass(frozen=True)
class Graded:
    """One guesser's figures in one round.

    Args:
        round: epochs before the release.
        rounds: `alone`, or `sum` of all rounds so far.
        knowledge: of M: `static`, `adaptive`, both where there is no M; empty for a baseline.
        name: the adversary or the baseline.
        best_baseline: over which the gain is; empty for a baseline.
        figures: by metric.
        answer: the posterior itself, for curves.
    """

    round: int
    rounds: Literal["alone", "sum"]
    knowledge: tuple[str, ...]
    name: str
    best_baseline: str
    figures: dict[str, Estimate]
    answer: Answer


Progress = Callable[[str], None]


class Match:
    """A game under way: one secret against one defense, from round to round.

    Args:
        game: the settings.
        population: the records; no record of the challenger is in shadow or training data.
        defense: M.
        layout: the entries of a gradient.

    Attributes:
        support: the names of the values of the secret.
        surface: what the adversaries know beside the releases.
        truth: what they do not: for the metrics alone.
        reuse: of each split, in words, how far its batches of the last round share records.
    """

    def __init__(
        self, game: Game, population: Population, defense: Defense, layout: Layout
    ) -> None:
        self.surface = game.check(population, layout)
        check_defense(defense, layout, game.k)
        self._layout = layout
        _, self._columns = layout.select(game.layers, "attack.layers")
        self._game, self._population, self._defense = game, population, defense
        self._witness = train_witness(population, game.secret, derived_seed(game.seed, "witness"))
        self.support = game.secret.support(population)
        c = len(self.support)
        shadow = pool_of(game.secret, population, FIT)
        self._prior = game.secret.probabilities(shadow, c)
        self._values = {
            FIT: _balanced(game.shadow_batches, c, torch_generator(game.seed, "values", FIT)),
            CALIBRATE: _balanced(
                game.calibrate_batches, c, torch_generator(game.seed, "values", CALIBRATE)
            ),
            CHALLENGE: torch.multinomial(
                self._prior,
                game.trials,
                replacement=True,
                generator=torch_generator(game.seed, "values", CHALLENGE),
            ),
        }
        self._units, pools = _units(game.secret, population)
        self.truth = Truth(self._values[CHALLENGE].numpy(), self._prior.numpy(), pools)
        self._observed: dict[tuple[tuple[str, ...], str], list[Observed]] = {}
        self._drawn: list[NDArray[np.int64]] = []
        self.reuse: dict[str, str] = {}

    @property
    def steps(self) -> int:
        """How often `play` reports progress."""
        return 1 + len(self._knowledge()) * len(self._game.adversaries)

    def play(self, round_: int, engine: GradientEngine, progress: Progress) -> list[Graded]:
        """Plays one round on the weights that the engine holds."""
        game, secret_values = self._game, self._values[CALIBRATE].numpy()
        if engine.layout != self._layout:
            raise LeakageError(
                f"model: the gradient had {self._layout.p} entries before training and has"
                f" {engine.layout.p} in round {round_}; the trained parameters must stay the same"
            )
        progress("releases")
        batches = {split: self._deal(split, round_) for split in (FIT, CALIBRATE, CHALLENGE)}  # 2.
        evidence = {split: self._witness.of(table, game.k) for split, table in batches.items()}
        imputation = self._guess_without_gradients(evidence)

        def seen_by(split: str, defense: Defense) -> NDArray[np.float32]:
            releases = self._release(engine, batches[split], split, round_, defense)
            if game.knows_features:
                return np.concatenate([releases, evidence[split].phi], axis=1)
            return releases

        released = seen_by(CHALLENGE, self._defense)  # 3.
        for knowledge, defense in self._knowledge():  # 4.
            shadow, calibrate = seen_by(FIT, defense), seen_by(CALIBRATE, defense)
            for adversary in game.adversaries:
                progress(f"{adversary.name}, {knowledge[-1]}")
                seed = derived_seed(game.seed, "adversary", adversary.name, round_)
                values = self._values[FIT].numpy()
                scores = adversary.fit(shadow, values, self.surface, seed)
                known, asked = (
                    [checked_scores(adversary, scores(seen), len(seen), self.surface)]
                    for seen in (calibrate, released)
                )
                if game.knows_features:
                    known.extend(imputation.calibrate)
                    asked.extend(imputation.challenge)
                self._remember(knowledge, adversary.name, Observed(known, asked))
        self.reuse = {split: self._reuse(split, table) for split, table in batches.items()}
        persistent = game.batches == "persistent"
        units = self._units[batches[CHALLENGE].numpy()]
        self._drawn = [units] if persistent else [*self._drawn, units]
        return list(self._grade(round_, secret_values))

    def _deal(self, split: str, round_: int) -> Tensor:
        """Draws the batches of a split: record indices (n, k + others), the secret's first."""
        game = self._game
        pool = pool_of(game.secret, self._population, split)
        kept = torch_generator(game.seed, "batches", split, "kept")
        fresh = torch_generator(game.seed, "batches", split, round_)
        generator = fresh if game.batches == "fresh" else kept
        if game.secret.targets and game.batches == "fresh":  # the target stays, the others do not
            target = game.secret.draw(self._values[split], 1, pool, kept)
            batches = torch.cat([target, draw_beside(target, pool, game.k - 1, fresh)], 1)
        else:
            batches = game.secret.draw(self._values[split], game.k, pool, generator)
        if game.others:
            batches = torch.cat([batches, draw_beside(batches, pool, game.others, generator)], 1)
        return batches

    def _reuse(self, split: str, batches: Tensor) -> str:
        """How far the batches of a split share records."""
        records, distinct = len(self._population.splits[split]), len(batches.unique())
        return (
            f"{distinct} of {records} records in {len(batches)} batches of {batches.shape[1]},"
            f" each drawn {batches.numel() / distinct:.1f} times on average"
        )

    def _release(
        self, engine: GradientEngine, batches: Tensor, split: str, round_: int, defense: Defense
    ) -> NDArray[np.float32]:
        """g~ = M(g) of each batch, as far as the adversaries see it: float32 (n, p)."""
        generator = torch_generator(self._game.seed, "release", split, round_)
        releases = release(engine, batches, defense, generator)
        whole = len(self._columns) == self._layout.p
        return np.asarray((releases if whole else releases[:, self._columns]).numpy())

    def _knowledge(self) -> list[tuple[tuple[str, ...], Defense]]:
        """What an adversary may know of M, and the M of its shadow releases."""
        if isinstance(self._defense, NoDefense):
            return [((STATIC, ADAPTIVE), self._defense)]
        return [((STATIC,), NoDefense()), ((ADAPTIVE,), self._defense)]

    def _guess_without_gradients(self, evidence: dict[str, Evidence]) -> Observed:
        """Remembers what the baselines guess; returns what phi(z) says."""
        values, c = self._values[CALIBRATE].numpy(), len(self.support)
        known, asked = evidence[CALIBRATE], evidence[CHALLENGE]
        flat = [np.zeros((len(seen.labels), c)) for seen in (known, asked)]
        guesses = {
            PRIOR: flat,
            LABELS: fit_baseline(known.labels, values, c, known.labels, asked.labels),
            IMPUTATION: fit_baseline(
                known.imputation, values, c, known.imputation, asked.imputation
            ),
        }
        for name, (calibrate, challenge) in guesses.items():
            self._remember((), name, Observed([calibrate], [challenge]))
        return self._observed[(), IMPUTATION][-1]

    def _remember(self, knowledge: tuple[str, ...], name: str, observed: Observed) -> None:
        self._observed.setdefault((knowledge, name), []).append(observed)

    @property
    def _dependent(self) -> bool:
        """Whether rounds share records, so that they are stacked and not summed."""
        return self._game.batches == "persistent" or self._game.secret.targets

    def _grade(self, round_: int, shadow_values: NDArray[np.int64]) -> Iterator[Graded]:
        prior = self._prior.numpy()
        played = len(self._observed[(), PRIOR])
        for rounds in ("alone", "sum") if played > 1 else ("alone",):
            last = slice(-1, None) if rounds == "alone" else slice(None)
            answers = {
                key: answer(seen[last], shadow_values, prior, dependent=self._dependent)
                for key, seen in self._observed.items()
            }
            drawn = self._drawn[last]
            if self._game.secret.targets:  # one and the same record in every round
                drawn = [drawn[0], *(table[:, 1:] for table in drawn[1:])]
            units = np.concatenate(drawn, axis=1)
            rivals = [PRIOR, LABELS] + [IMPUTATION] * self._game.knows_features
            # The best on the trials themselves: so a gain is never larger than over any of them.
            draws, values = Draws(units, self.truth.pools), self.truth.values
            areas = {
                name: auroc(answers[(), name].log_posterior, values, draws).value for name in rivals
            }
            best = max(rivals, key=lambda name: areas[name])
            for (knowledge, name), given in answers.items():
                over = answers[(), best] if knowledge else None
                figures = grade(given, self.truth, units, over)
                yield Graded(
                    round_, rounds, knowledge, name, best if knowledge else "", figures, given
                )


def release(
    engine: GradientEngine, batches: Tensor, defense: Defense, generator: torch.Generator
) -> Tensor:
    """g~ = M(g) for each row of record indices (n, k): float32 (n, p)."""
    layout = engine.layout
    per_record = (lambda g: defense.per_record(g, layout)) if defense.record_wise else None
    means = engine.means(batches, generator, per_record)
    return checked_release(defense, means, batches.shape[1], layout, generator)


def _balanced(n: int, c: int, generator: torch.Generator) -> Tensor:
    """N values of 0..c-1, as many of each as can be, in random order."""
    return (torch.arange(n) % c)[torch.randperm(n, generator=generator)]


def _units(secret: Secret, population: Population) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number in 0..U-1 for the unit of each record of the challenge split (else -1).

    Returns:
        The numbers, (N,), and the pool of each unit, (U,): its class, one more where unknown.
    """
    records = population.splits[CHALLENGE]
    _, numbers = population.units[records].unique(return_inverse=True)
    units = torch.full((len(population.units),), -1, dtype=torch.int64)
    units[records] = numbers
    classes = secret.classes(population)[records]
    pools = torch.zeros(int(numbers.max()) + 1, dtype=torch.int64)
    pools[numbers] = torch.where(classes < 0, int(classes.max()) + 1, classes)
    return units.numpy(), pools.numpy()
