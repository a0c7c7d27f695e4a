"""The game between a challenger and adversaries, its steps numbered as in Li et al. (2024).

1. The challenger initialises theta_0 and trains on the private set D: the Trainer does.
2. It draws a ~ P(a), and a batch D_a of k records ~ P(x, y | a).
3. In an observed round it computes g = grad L(theta, D_a), or the update of a client that trains
   on D_a, and releases g~ = M(g).
4. The adversary, fitted on the releases of shadow batches, answers a posterior over a.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from torch import Tensor

from leakage.adversaries.baselines import IMPUTATION, Baselines, baselines_of
from leakage.adversaries.looks import (
    ENROLLED,
    NOISELESS,
    SEEN,
    Look,
    Sight,
    beside,
    guess,
    looks_of,
    sights,
)
from leakage.adversaries.posterior import Observed
from leakage.dealing import Dealer, Units
from leakage.defenses import Defense, NoDefense, noiseless
from leakage.defenses.checks import check_defense
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.farthest import farthest, try_alone
from leakage.gradients.layout import Layout
from leakage.judging import Judge, Parties, ceiling_of, proof_of
from leakage.knowledge import ADAPTIVE, HEADLINE, MECHANISM, STATIC, SURROGATE
from leakage.metrics.grading import Truth
from leakage.population import CALIBRATE, CHALLENGE, FIT, GAME_SPLITS, Population
from leakage.randomness import derived_seed
from leakage.rehearsal import Rehearsals
from leakage.releases import Releases
from leakage.rounds import Graded, Key, Observation, Progress, Submit, made
from leakage.rules import Game
from leakage.secrets.base import Hand

_REPEATS = 10  # releases of each shadow batch, where its noise is drawn anew each time


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
        ceiling: the ASR that nobody exceeds in one round, where the draw of a batch sets a limit.
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
        self._given, self._layout, self._defense = population, layout, defense
        _, self._columns = layout.select(game.layers, "attack.layers")
        # P(a) is a rule of the game, whatever the adversary's records are like.
        everybody = game.secret.seats(population, game.sizes)
        prior = game.secret.probabilities(everybody.pools[FIT], len(everybody.support))
        self._dealer = Dealer(game, shadowed, prior)
        self._seats = self._dealer.seats
        self.support = self._seats.support
        self._baselines = baselines or baselines_of(game.secret, shadowed, self._seats, game.seed)
        self._rehearsals: Rehearsals | None = None
        if defense.rehearses:
            self._rehearsals = Rehearsals(game, population, shadowed, prior, defense, layout)
        else:
            check_defense(defense, layout, game.k)
        self._units = Units(self._seats.pools[CHALLENGE], population)
        self.truth = Truth(
            self._dealer.answers[CHALLENGE].numpy(),
            prior.numpy(),
            self._units.pools,
            levels=game.secret.levels,
            clustered=self._users > 0,
            aimed=game.secret.has_targets,
        )
        known = self._dealer.answers[CALIBRATE].numpy()
        parties = Parties(self.support, self._units.names, known, self._users)
        proof = proof_of(defense, game, len(self.support))
        self._judge = Judge(game, self.truth, parties, proof)
        self.ceiling = ceiling_of(game, self.truth.prior)
        self.target: int | None = None
        self.reuse: dict[str, str] = {}

    @property
    def _noisy(self) -> bool:
        """Whether whoever knows of M looks past its noise: not at pairs, nor at users."""
        alone = not self.surface.paired and not self._users
        return alone and noiseless(self._defense) is not None

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

    def fitted(self, engine: GradientEngine, round_: int) -> Defense:
        """M as the defender has it in a round: fitted on records of its own, where it must be."""
        return self._rehearsals.defender(engine, round_) if self._rehearsals else self._defense

    def observe(
        self,
        round_: int,
        engine: GradientEngine,
        submit: Submit,
        progress: Progress,
        unaware: GradientEngine | None = None,
        live: Tensor | None = None,
    ) -> Observation:
        """Plays one round.

        Args:
            round_: epochs before it.
            engine: at the weights of the round.
            submit: runs the guesses.
            progress: is told what is under way.
            unaware: the same weights as one takes them who does not know of a defense that is
                part of the model; None where there is none.
            live: what clients released of a real step at these weights, float32 (w, p).
        """
        game = self.game
        engine.layout.check_same(self._layout, round_)
        progress("baselines")
        if self.surface.paired:
            try_alone(engine, self._seats.pools[CHALLENGE].records[0])
        if game.aims_at_worst and self.target is None:
            self.aim_at(farthest(engine, self._seats.pools[CHALLENGE].records, self._columns))
        hands = {split: self._dealer.deal(split, round_) for split in GAME_SPLITS}  # 2.
        self.reuse = {split: self._dealer.reuse(split, hand) for split, hand in hands.items()}
        baselines = self._baselines.guess(hands | self._dealer.counted(round_))
        guesses: dict[Key, Future[Observed]] = {
            ((), name, SEEN): made(observed) for name, observed in baselines.items()
        }
        progress("releases")
        defense = self.fitted(engine, round_)
        looks = [
            (self._looks(known, round_), self._own(taken, as_known, hands, round_))
            for known, taken, as_known in self._knowledge(engine, unaware, defense, round_)
        ]
        challenge = self._releases(engine, CHALLENGE, hands[CHALLENGE], defense, round_)
        targets = self._of_targets(engine, hands)
        shown = live[:, self._columns] if live is not None and self.scores_live else None
        seen = sights(looks, hands[FIT].values, challenge, targets, shown)  # 3.
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

    @property
    def scores_live(self) -> bool:
        """Whether the release of a real step is like a trial, so that adversaries can answer it.

        It is not where a trial has a target, users in question, strangers in the mean, or more
        that is known of it than the release, nor where the game is on updates.
        """
        game = self.game
        apart = game.secret.has_targets or self._users or game.others
        return not (apart or game.knows_features or game.local is not None)

    def judge(self, observation: Observation) -> list[Graded]:
        """Grades a round, once its guesses are made; rounds come in the order of their play."""
        return self._judge.judge(observation)

    def _looks(self, knowledge: tuple[str, ...], round_: int) -> list[Look]:
        """Who looks at the releases of a round: each adversary, and one at each layer alone."""
        game, headline = self.game, bool(HEADLINE & set(knowledge))
        surface = replace(self.surface, noisy=headline and self._noisy)
        last = game.layer_map and round_ == max(game.rounds) and headline
        seed = derived_seed(game.seed, "view")
        return looks_of(knowledge, game.players, surface, seed, game.mapper if last else None)

    def _knowledge(
        self,
        engine: GradientEngine,
        unaware: GradientEngine | None,
        defense: Defense,
        round_: int,
    ) -> list[tuple[tuple[str, ...], GradientEngine, Defense]]:
        """What an adversary may know, and the model and the M of its shadow releases."""
        if isinstance(defense, NoDefense) and unaware is None:
            return [((STATIC, ADAPTIVE), engine, defense)]
        known = [((STATIC,), unaware or engine, NoDefense())]
        if self._rehearsals is None:
            return [*known, ((ADAPTIVE,), engine, defense)]
        rerun = self._rehearsals.adversary(engine, round_)
        return [*known, ((MECHANISM,), engine, rerun), ((SURROGATE,), engine, defense)]

    def _own(
        self, engine: GradientEngine, defense: Defense, hands: Mapping[str, Hand], round_: int
    ) -> dict[str, Releases]:
        """What an adversary releases itself: shadow batches, and those of users it has met."""
        own = {
            split: self._releases(engine, split, hands[split], defense, round_)
            for split in (FIT, CALIBRATE)
        }
        clean = noiseless(defense)
        if clean is not None and self._noisy:
            own[NOISELESS] = self._releases(engine, FIT, hands[FIT], clean, round_)
            own[FIT] = replace(own[FIT], repeats=_REPEATS)
        if self._users:
            met = self._dealer.met()
            own[ENROLLED] = self._releases(engine, ENROLLED, met, defense, round_)
        return own

    def _releases(
        self, engine: GradientEngine, part: str, hand: Hand, defense: Defense, round_: int
    ) -> Releases:
        seed = derived_seed(self.game.seed, "release", part, round_)
        clients = hand.batches.shape[1] // hand.k if self.game.local else 1
        told = hand.values if defense.reads_secret else None
        return Releases(engine, hand.batches, defense, seed, self._columns, clients, told)

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
