"""Grades the guesses of each round against the truth, which no adversary sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leakage.adversaries.baselines import IMPUTATION, PRIOR
from leakage.adversaries.looks import SEEN
from leakage.adversaries.posterior import Answer, Observed, answer
from leakage.defenses import Defense, dp_of
from leakage.knowledge import HEADLINE, INFORMATION
from leakage.metrics.grading import Truth, grade, grade_by_class, grade_by_unit
from leakage.metrics.intervals import Estimate, Floats
from leakage.metrics.ordinal import composition_ceiling
from leakage.metrics.ranking import auroc
from leakage.metrics.view import Proof, information_view
from leakage.rounds import Graded, Key, Observation
from leakage.rules import Game
from leakage.secrets import Distribution, User


@dataclass(frozen=True)
class Parties:
    """Whom a game is about, beside the truth.

    Args:
        support: the names of the c values of the secret.
        units: the number that the population gives each unit of the challenge split, (U,).
        known: the secrets of the calibrate batches, which the adversary knows, (m,).
        users: users that the adversary has met; 0 where the secret is not about users.
    """

    support: tuple[str, ...]
    units: NDArray[np.int64]
    known: NDArray[np.int64]
    users: int


class Judge:
    """Keeps what was guessed in the rounds so far, and grades it.

    Args:
        game: the settings.
        truth: what no adversary sees.
        parties: whom it is about.
        proof: what M proves of the secret, where it is differentially private.
    """

    def __init__(self, game: Game, truth: Truth, parties: Parties, proof: Proof | None) -> None:
        self._game, self._truth, self._parties, self._proof = game, truth, parties, proof
        self._observed: dict[Key, list[Observed]] = {}
        self._drawn: list[NDArray[np.int64]] = []

    def judge(self, observation: Observation) -> list[Graded]:
        """Grades a round, once its guesses are made; rounds come in the order of their play."""
        for key, guessed in observation.guesses.items():
            self._observed.setdefault(key, []).append(guessed.result())
        stays = self._game.batches == "persistent" or self._parties.users
        self._drawn = [*([] if stays else self._drawn), observation.units]
        return list(self._grade(observation.round))

    @property
    def _dependent(self) -> bool:
        """Whether rounds share records, so that they are stacked and not summed."""
        game = self._game
        return game.batches == "persistent" or game.secret.has_targets or self._parties.users > 0

    def _grade(self, round_: int) -> Iterator[Graded]:
        prior, known = self._truth.prior, self._parties.known
        rivals = [name for knowledge, name, _ in self._observed if not knowledge]
        if not self._game.knows_features:  # then phi(z) is shown, and no rival
            rivals = [name for name in rivals if name != IMPUTATION]
        played = len(self._observed[(), PRIOR, SEEN])
        alike = self._parties.users > 0
        for rounds in ("alone", "sum") if played > 1 else ("alone",):
            last = slice(-1, None) if rounds == "alone" else slice(None)
            answers = {
                key: answer(seen[last], known, prior, dependent=self._dependent, alike=alike)
                for key, seen in self._observed.items()
                if rounds == "alone" or key[2] == SEEN
            }
            drawn = self._drawn[last]
            if self._game.secret.has_targets:  # one and the same record in every round
                drawn = [drawn[0], *(table[:, 1:] for table in drawn[1:])]
            units = np.concatenate(drawn, axis=1)
            # The best on the trials themselves: so a gain is never larger than over any of them.
            draws, values = self._truth.draws(units), self._truth.values
            areas = {
                name: auroc(answers[(), name, SEEN].ranking, values, draws).value for name in rivals
            }
            best = max(rivals, key=lambda name: areas[name])
            graded: dict[Key, dict[str, Estimate]] = {}
            for key, given in answers.items():
                knowledge, name, layers = key
                over = answers[(), best, SEEN] if knowledge else None
                graded[key] = figures = grade(given, self._truth, units, over)
                rival = best if knowledge else ""
                attack = knowledge and layers == SEEN
                worst = self._worst(given, units) if attack else ({}, {})
                yield Graded(
                    round_, rounds, knowledge, name, layers, rival, figures, *worst, given, draws
                )
            key = self._strongest(answers)
            releases = 1 if rounds == "alone" else played
            side = self._game.knows_features
            view = information_view(key[1], graded[key], prior, releases, self._proof, side)
            nobody = answers[(), PRIOR, SEEN]
            yield Graded(round_, rounds, (), INFORMATION, SEEN, "", view, {}, {}, nobody, draws)

    def _strongest(self, answers: dict[Key, Answer]) -> Key:
        """Of those who know of M, the one whose posterior is best on its calibrate batches.

        Not on the trials: a limit of the best of several on the same trials would not hold.
        """

        def fit(key: Key) -> float:
            given = answers[key]
            own: Floats = given.calibrate[np.arange(len(given.calibrate)), given.calibrate_values]
            return float(own.mean())

        attacks = [key for key in answers if key[2] == SEEN and set(key[0]) & HEADLINE]
        return max(attacks, key=fit)

    def _worst(
        self, given: Answer, units: NDArray[np.int64]
    ) -> tuple[dict[str, Estimate], dict[int, Estimate]]:
        """Figures by the name of the secret's value, and by the number of a unit."""
        by_class = grade_by_class(given, self._truth, units)
        at_once = "the lower limits of all units hold at once"
        note = "no interval: one user" if self._parties.users else at_once
        exposed = {
            int(self._parties.units[found.unit]): Estimate(
                found.value, found.low, np.nan, found.trials, 1, note
            )
            for found in grade_by_unit(given, self._truth, units)
        }
        return {self._parties.support[value]: figure for value, figure in by_class.items()}, exposed


def proof_of(defense: Defense, game: Game, c: int) -> Proof | None:
    """What M proves of a secret with c values, where DP is among its stages."""
    dp = dp_of(defense)
    if dp is None or dp.sigma is None:
        return None
    # The others of a user's batch are strangers to that user: they change with the secret.
    k = game.k + game.others if isinstance(game.secret, User) else game.k
    return Proof(dp.sigma, dp.delta, game.secret.changed(k, c).numpy())


def ceiling_of(game: Game, prior: Floats) -> float | None:
    """The ASR that nobody exceeds in one round, where the draw of the batch sets a limit."""
    secret = game.secret
    if isinstance(secret, Distribution) and secret.composition == "random":
        return composition_ceiling(secret.levels, game.k, prior)
    return None
