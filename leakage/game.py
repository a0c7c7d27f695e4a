"""The game between a challenger and adversaries, its steps numbered as in Li et al. (2024).

1. The challenger initialises theta_0 and trains on the private set D: the Trainer does.
2. It draws a ~ P(a), and a batch D_a of k records ~ P(x, y | a).
3. In an observed round it computes g = grad L(theta, D_a), or the update of a client that trains
   on D_a, and releases g~ = M(g).
4. The adversary, fitted on the releases of shadow batches, answers a posterior over a.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from glob import escape

import numpy as np
from numpy.typing import NDArray

from leakage.adversaries.baselines import IMPUTATION, PRIOR, Baselines, baselines_of
from leakage.adversaries.looks import ENROLLED, Look, Sight, beside, guess, sights
from leakage.adversaries.posterior import Answer, Observed, answer
from leakage.dealing import Dealer, Units
from leakage.defenses import Defense, NoDefense
from leakage.defenses.checks import check_defense
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.farthest import farthest, try_alone
from leakage.gradients.layout import Layout
from leakage.metrics.grading import Truth, grade, grade_by_class, grade_by_unit
from leakage.metrics.intervals import Estimate
from leakage.metrics.ordinal import composition_ceiling
from leakage.metrics.ranking import auroc
from leakage.population import CALIBRATE, CHALLENGE, FIT, GAME_SPLITS, Population
from leakage.randomness import derived_seed
from leakage.releases import Releases
from leakage.rounds import SEEN, Graded, Key, Observation, Progress, Submit, made
from leakage.rules import Game
from leakage.secrets import Distribution
from leakage.secrets.base import Hand

STATIC, ADAPTIVE = "static", "adaptive"


class Match:
    """A game under way: one secret against one defense, from round to round.

    Args:
        game: the settings.
        population: the records; no record of the challenger is in shadow or training data.
        defense: M.
        layout: the entries of a gradient.
        baselines: of the same secret and records, where they are ready.

    Attributes:
        game: the settings.
        population: the records, the shadow ones as the adversary has them.
        support: the names of the values of the secret.
        surface: what the adversaries know beside the releases.
        truth: what they do not: for the metrics alone.
        target: the record that all trials are about, once the worst is found.
        reuse: of each split, in words, how far its batches of the last round share records.
    """

    def __init__(
        self,
        game: Game,
        population: Population,
        defense: Defense,
        layout: Layout,
        baselines: Baselines | None = None,
    ) -> None:
        self.game = game
        self.population = shadowed = game.shadowed(population)
        self.surface = game.check(shadowed, layout, defense)
        check_defense(defense, layout, game.k)
        self._given, self._layout, self._defense = population, layout, defense
        _, self._columns = layout.select(game.layers, "attack.layers")
        # P(a) is a rule of the game, whatever the adversary's records are like.
        everybody = game.secret.seats(population, game.sizes)
        prior = game.secret.probabilities(everybody.pools[FIT], len(everybody.support))
        self._dealer = Dealer(game, shadowed, prior)
        self._seats = self._dealer.seats
        self.support = self._seats.support
        self._baselines = baselines or baselines_of(game.secret, shadowed, self._seats, game.seed)
        self._units = Units(self._seats.pools[CHALLENGE], population)
        self.truth = Truth(
            self._dealer.answers[CHALLENGE].numpy(),
            prior.numpy(),
            self._units.pools,
            levels=game.secret.levels,
            clustered=self._users > 0,
            aimed=game.secret.has_targets,
        )
        self.target: int | None = None
        self._observed: dict[Key, list[Observed]] = {}
        self._drawn: list[NDArray[np.int64]] = []
        self.reuse: dict[str, str] = {}

    @property
    def _users(self) -> int:
        """How many users the adversary has met, where the secret is about users."""
        return 0 if self._seats.enrolled is None else len(self._seats.enrolled)

    def at(self, game: Game) -> Match:
        """The match at another point of the aggregation curve."""
        try:
            known = None if self._users else self._baselines  # users are met by k records each
            return Match(game, self._given, self._defense, self._layout, known)
        except LeakageError as error:
            key = "curve_k" if game.k != self.game.k else "curve_clients"
            raise LeakageError(
                f"attack.{key}: at k = {game.k} and others = {game.others}: {error}"
            ) from error

    def aim_at(self, target: int) -> None:
        """Makes one record the target of every trial, where the game asks for the worst."""
        self.target = target
        self._dealer.aim_at(target)

    @property
    def ceiling(self) -> float | None:
        """The ASR that nobody exceeds in one round, where the draw of the batch sets a limit."""
        secret = self.game.secret
        if isinstance(secret, Distribution) and secret.composition == "random":
            return composition_ceiling(secret.levels, self.game.k, self.truth.prior)
        return None

    def observe(
        self, round_: int, engine: GradientEngine, submit: Submit, progress: Progress
    ) -> Observation:
        """Plays one round on the weights that the engine holds; `submit` runs the guesses."""
        game = self.game
        if engine.layout != self._layout:
            raise LeakageError(
                f"model: the gradient had {self._layout.p} entries before training and has"
                f" {engine.layout.p} in round {round_}; the trained parameters must stay the same"
            )
        progress("baselines")
        if self.surface.paired:
            try_alone(engine, self._seats.pools[CHALLENGE].records[0])
        if game.aims_at_worst and self.target is None:
            self.aim_at(farthest(engine, self._seats.pools[CHALLENGE].records, self._columns))
        hands = {split: self._dealer.deal(split, round_) for split in GAME_SPLITS}  # 2.
        self.reuse = {split: self._dealer.reuse(split, hand) for split, hand in hands.items()}
        baselines = self._baselines.guess(hands | self._counted(round_))
        guesses: dict[Key, Future[Observed]] = {
            ((), name, SEEN): made(observed) for name, observed in baselines.items()
        }
        progress("releases")
        looks = [
            (self._looks(knowledge, round_), self._own(engine, defense, hands, round_))
            for knowledge, defense in self._knowledge()
        ]
        challenge = self._releases(engine, CHALLENGE, hands[CHALLENGE], self._defense, round_)
        seen = sights(looks, hands[FIT].values, challenge, self._of_targets(engine, hands))  # 3.
        phi = self._phi(hands)
        told = self._baselines.guess(hands)[IMPUTATION] if phi else Observed([], [])
        values = hands[FIT].values.numpy()
        lines = {split: who.numpy() for split, who in self._dealer.candidates.items()}
        threads = max(1, game.workers // len(seen))
        for look, sight in seen.items():  # 4.
            seed = derived_seed(game.seed, "adversary", look.adversary.name, round_)
            sight = beside(sight, phi)
            task = partial(guess, look, sight, values, lines, self._users, seed, told, threads)
            guesses[look.knowledge, look.adversary.name, look.layers] = submit(task)
        return Observation(round_, guesses, self._units.drawn(hands[CHALLENGE]))

    def _counted(self, round_: int) -> dict[str, Hand]:
        """Calibrate batches for baselines, which count labels: they know k where others do not."""
        sizes = self.game.sizes
        if self._users or sizes.k == sizes.shadow_k:
            return {}
        return {CALIBRATE: self._dealer.deal(CALIBRATE, round_, sizes.k)}

    def judge(self, observation: Observation) -> list[Graded]:
        """Grades a round, once its guesses are made; rounds come in the order of their play."""
        for key, guessed in observation.guesses.items():
            self._observed.setdefault(key, []).append(guessed.result())
        stays = self.game.batches == "persistent" or self._users
        self._drawn = [*([] if stays else self._drawn), observation.units]
        return list(self._grade(observation.round))

    def _looks(self, knowledge: tuple[str, ...], round_: int) -> list[Look]:
        """Who looks at the releases of a round: each adversary, and one at each layer alone."""
        game, surface, seed = self.game, self.surface, derived_seed(self.game.seed, "view")
        looks = [
            Look(knowledge, SEEN, slice(None), a, surface, a.view(surface, seed))
            for a in game.players
        ]
        if game.layer_map and round_ == max(game.rounds) and ADAPTIVE in knowledge:
            mapper = game.mapper
            for layer, names in surface.layout.groups().items():
                exact = [escape(name) for name in names]
                part, columns = surface.layout.select(exact, "attack.layers")
                alone = replace(surface, layout=part)
                span = slice(int(columns[0]), int(columns[-1]) + 1)  # a layer's are neighbours
                shown = f"{layer} (layer)" if layer == SEEN else layer
                looks.append(Look(knowledge, shown, span, mapper, alone, mapper.view(alone, seed)))
        return looks

    def _knowledge(self) -> list[tuple[tuple[str, ...], Defense]]:
        """What an adversary may know of M, and the M of its shadow releases."""
        if isinstance(self._defense, NoDefense):
            return [((STATIC, ADAPTIVE), self._defense)]
        return [((STATIC,), NoDefense()), ((ADAPTIVE,), self._defense)]

    def _own(
        self, engine: GradientEngine, defense: Defense, hands: Mapping[str, Hand], round_: int
    ) -> dict[str, Releases]:
        """What an adversary releases itself: shadow batches, and those of users it has met."""
        own = {
            split: self._releases(engine, split, hands[split], defense, round_)
            for split in (FIT, CALIBRATE)
        }
        if self._users:
            met = self._dealer.met()
            own[ENROLLED] = self._releases(engine, ENROLLED, met, defense, round_)
        return own

    def _releases(
        self, engine: GradientEngine, part: str, hand: Hand, defense: Defense, round_: int
    ) -> Releases:
        seed = derived_seed(self.game.seed, "release", part, round_)
        clients = hand.batches.shape[1] // hand.k if self.game.local else 1
        return Releases(engine, hand.batches, defense, seed, self._columns, clients)

    def _of_targets(self, engine: GradientEngine, hands: Mapping[str, Hand]) -> dict[str, Releases]:
        """The gradients of the targets, where an adversary knows them wholly."""
        if not self.surface.paired:
            return {}
        seed = derived_seed(self.game.seed, "targets")
        return {
            split: Releases(engine, hand.targets[:, None], NoDefense(), seed, self._columns, 0)
            for split, hand in hands.items()
            if hand.targets is not None
        }

    def _phi(self, hands: Mapping[str, Hand]) -> Sight:
        """What is known of the records of each batch beside its release, by part."""
        if not self.game.knows_features:
            return {}
        phi = {split: self._baselines.phi(hand.known) for split, hand in hands.items()}
        if self._users:
            phi[ENROLLED] = self._baselines.phi(self._dealer.met().known)
        return phi

    @property
    def _dependent(self) -> bool:
        """Whether rounds share records, so that they are stacked and not summed."""
        return self.game.batches == "persistent" or self.game.secret.has_targets or self._users > 0

    def _grade(self, round_: int) -> Iterator[Graded]:
        prior, known = self.truth.prior, self._dealer.answers[CALIBRATE].numpy()
        rivals = [name for knowledge, name, _ in self._observed if not knowledge]
        if not self.game.knows_features:  # then phi(z) is shown, and no rival
            rivals = [name for name in rivals if name != IMPUTATION]
        played = len(self._observed[(), PRIOR, SEEN])
        for rounds in ("alone", "sum") if played > 1 else ("alone",):
            last = slice(-1, None) if rounds == "alone" else slice(None)
            answers = {
                key: answer(
                    seen[last], known, prior, dependent=self._dependent, alike=self._users > 0
                )
                for key, seen in self._observed.items()
                if rounds == "alone" or key[2] == SEEN
            }
            drawn = self._drawn[last]
            if self.game.secret.has_targets:  # one and the same record in every round
                drawn = [drawn[0], *(table[:, 1:] for table in drawn[1:])]
            units = np.concatenate(drawn, axis=1)
            # The best on the trials themselves: so a gain is never larger than over any of them.
            draws, values = self.truth.draws(units), self.truth.values
            areas = {
                name: auroc(answers[(), name, SEEN].ranking, values, draws).value for name in rivals
            }
            best = max(rivals, key=lambda name: areas[name])
            for (knowledge, name, layers), given in answers.items():
                over = answers[(), best, SEEN] if knowledge else None
                figures = grade(given, self.truth, units, over)
                rival = best if knowledge else ""
                attack = knowledge and layers == SEEN
                worst = self._worst(given, units) if attack else ({}, {})
                yield Graded(round_, rounds, knowledge, name, layers, rival, figures, *worst, given)

    def _worst(
        self, given: Answer, units: NDArray[np.int64]
    ) -> tuple[dict[str, Estimate], dict[int, Estimate]]:
        """Figures by the name of the secret's value, and by the number of a unit."""
        by_class = grade_by_class(given, self.truth, units)
        at_once = "the lower limits of all units hold at once"
        note = "no interval: one user" if self._users else at_once
        exposed = {
            int(self._units.names[found.unit]): Estimate(
                found.value, found.low, np.nan, found.trials, 1, note
            )
            for found in grade_by_unit(given, self.truth, units)
        }
        return {self.support[value]: figure for value, figure in by_class.items()}, exposed
