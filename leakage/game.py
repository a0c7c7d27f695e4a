"""The game between a challenger and adversaries, its steps numbered as in Li et al. (2024).

1. The challenger initialises theta_0 and trains on the private set D: the Trainer does.
2. It draws a ~ P(a), and a batch D_a of k records ~ P(x, y | a).
3. In an observed round it computes g = grad L(theta, D_a) and releases g~ = M(g).
4. The adversary, fitted on the releases of shadow batches, answers a posterior over a.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from glob import escape

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leakage.adversaries.baselines import (
    IMPUTATION,
    LABELS,
    PRIOR,
    Evidence,
    fit_baseline,
    train_witness,
)
from leakage.adversaries.looks import Look, guess, sights
from leakage.adversaries.posterior import Observed, answer
from leakage.defenses import Defense, NoDefense
from leakage.defenses.checks import check_defense
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.metrics.grading import Truth, grade
from leakage.metrics.intervals import Draws
from leakage.metrics.ranking import auroc
from leakage.population import GAME_SPLITS, Population
from leakage.randomness import derived_seed, torch_generator
from leakage.releases import Releases
from leakage.rounds import SEEN, Graded, Key, Observation, Progress, Submit
from leakage.rules import Game
from leakage.secrets import Secret
from leakage.secrets.base import draw_beside, pool_of

FIT, CALIBRATE, CHALLENGE = GAME_SPLITS
STATIC, ADAPTIVE = "static", "adaptive"


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
        self._observed: dict[Key, list[Observed]] = {}
        self._drawn: list[NDArray[np.int64]] = []
        self.reuse: dict[str, str] = {}

    def observe(
        self, round_: int, engine: GradientEngine, submit: Submit, progress: Progress
    ) -> Observation:
        """Plays one round on the weights that the engine holds; `submit` runs the guesses."""
        game = self._game
        if engine.layout != self._layout:
            raise LeakageError(
                f"model: the gradient had {self._layout.p} entries before training and has"
                f" {engine.layout.p} in round {round_}; the trained parameters must stay the same"
            )
        progress("baselines")
        batches = {split: self._deal(split, round_) for split in GAME_SPLITS}  # 2.
        self.reuse = {split: self._reuse(split, table) for split, table in batches.items()}
        evidence = {split: self._witness.of(table, game.k) for split, table in batches.items()}
        baselines = self._guess_without_gradients(evidence)
        guesses: dict[Key, Future[Observed]] = {
            ((), name, SEEN): _given(observed) for name, observed in baselines.items()
        }

        def releases(split: str, defense: Defense) -> Releases:
            seed = derived_seed(game.seed, "release", split, round_)
            return Releases(engine, batches[split], defense, seed, self._columns)

        progress("releases")
        looks = [
            (self._looks(knowledge, round_), releases(FIT, defense), releases(CALIBRATE, defense))
            for knowledge, defense in self._knowledge()
        ]
        seen = sights(looks, self._values[FIT], releases(CHALLENGE, self._defense))  # 3.
        beside = baselines[IMPUTATION] if game.knows_features else Observed([], [])
        threads = max(1, game.workers // len(seen))
        for look, sight in seen.items():  # 4.
            if game.knows_features:
                sight = sight.beside(*(evidence[split].phi for split in evidence))
            seed = derived_seed(game.seed, "adversary", look.adversary.name, round_)
            values = self._values[FIT].numpy()
            task = partial(guess, look, sight, values, seed, beside, threads)
            guesses[look.knowledge, look.adversary.name, look.layers] = submit(task)
        return Observation(round_, guesses, self._units[batches[CHALLENGE].numpy()])

    def judge(self, observation: Observation) -> list[Graded]:
        """Grades a round, once its guesses are made; rounds come in the order of their play."""
        for key, guessed in observation.guesses.items():
            self._observed.setdefault(key, []).append(guessed.result())
        drawn = [] if self._game.batches == "persistent" else self._drawn
        self._drawn = [*drawn, observation.units]
        return list(self._grade(observation.round))

    def _looks(self, knowledge: tuple[str, ...], round_: int) -> list[Look]:
        """Who looks at the releases of a round: each adversary, and one at each layer alone."""
        seed, surface = derived_seed(self._game.seed, "view"), self.surface
        looks = [
            Look(knowledge, SEEN, slice(None), a, surface, a.view(surface, seed))
            for a in self._game.adversaries
        ]
        if self._game.layer_map and round_ == max(self._game.rounds) and ADAPTIVE in knowledge:
            mapper = self._game.mapper
            for layer, names in surface.layout.groups().items():
                exact = [escape(name) for name in names]
                part, columns = surface.layout.select(exact, "attack.layers")
                alone = replace(surface, layout=part)
                span = slice(int(columns[0]), int(columns[-1]) + 1)  # a layer's are neighbours
                shown = f"{layer} (layer)" if layer == SEEN else layer
                looks.append(Look(knowledge, shown, span, mapper, alone, mapper.view(alone, seed)))
        return looks

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

    def _knowledge(self) -> list[tuple[tuple[str, ...], Defense]]:
        """What an adversary may know of M, and the M of its shadow releases."""
        if isinstance(self._defense, NoDefense):
            return [((STATIC, ADAPTIVE), self._defense)]
        return [((STATIC,), NoDefense()), ((ADAPTIVE,), self._defense)]

    def _guess_without_gradients(self, evidence: dict[str, Evidence]) -> dict[str, Observed]:
        """What each baseline guesses."""
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
        return {name: Observed([first], [second]) for name, (first, second) in guesses.items()}

    @property
    def _dependent(self) -> bool:
        """Whether rounds share records, so that they are stacked and not summed."""
        return self._game.batches == "persistent" or self._game.secret.targets

    def _grade(self, round_: int) -> Iterator[Graded]:
        prior, shadow_values = self._prior.numpy(), self._values[CALIBRATE].numpy()
        played = len(self._observed[(), PRIOR, SEEN])
        for rounds in ("alone", "sum") if played > 1 else ("alone",):
            last = slice(-1, None) if rounds == "alone" else slice(None)
            answers = {
                key: answer(seen[last], shadow_values, prior, dependent=self._dependent)
                for key, seen in self._observed.items()
                if rounds == "alone" or key[2] == SEEN
            }
            drawn = self._drawn[last]
            if self._game.secret.targets:  # one and the same record in every round
                drawn = [drawn[0], *(table[:, 1:] for table in drawn[1:])]
            units = np.concatenate(drawn, axis=1)
            rivals = [PRIOR, LABELS] + [IMPUTATION] * self._game.knows_features
            # The best on the trials themselves: so a gain is never larger than over any of them.
            draws, values = Draws(units, self.truth.pools), self.truth.values
            areas = {
                name: auroc(answers[(), name, SEEN].log_posterior, values, draws).value
                for name in rivals
            }
            best = max(rivals, key=lambda name: areas[name])
            for (knowledge, name, layers), given in answers.items():
                over = answers[(), best, SEEN] if knowledge else None
                figures = grade(given, self.truth, units, over)
                rival = best if knowledge else ""
                yield Graded(round_, rounds, knowledge, name, layers, rival, figures, given)


def _given(observed: Observed) -> Future[Observed]:
    """A guess that is made."""
    future: Future[Observed] = Future()
    future.set_result(observed)
    return future


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
