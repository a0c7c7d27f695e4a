"""Plays rounds at snapshots: releases, guesses and figures, in whatever process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from leakage.adversaries.base import Array
from leakage.adversaries.looks import SEEN
from leakage.adversaries.posterior import Observed
from leakage.defenses import Defense, bottlenecks, silenced
from leakage.game import Match
from leakage.gradients.layout import Layout
from leakage.population import Population
from leakage.ranks import ALONE, Ranks
from leakage.rounds import Graded, Key, Observation, Progress, made
from leakage.rules import Game
from leakage.snapshot import Snapshot


@dataclass(frozen=True)
class Setting:
    """What all rounds of a match have in common: the arguments of `Match`.

    Args:
        game: the rules.
        population: the records.
        defense: M.
        layout: the entries of a gradient.
    """

    game: Game
    population: Population
    defense: Defense
    layout: Layout


@dataclass(frozen=True)
class Guesses:
    """What was guessed in one round of a match.

    Args:
        guesses: the log scores of each guesser, in the order of the table.
        units: of each trial the units that it drew, (n, j).
    """

    guesses: dict[Key, Observed]
    units: NDArray[np.int64]


@dataclass(frozen=True)
class Played:
    """A round that was played, before it is graded.

    Args:
        round: epochs before it.
        step: optimizer steps before it.
        guesses: of the match, and in the last round of each point of its aggregation curve.
        target: the record that all trials are about, where there is one.
        size: records of each client's batch in the real step that was scored.
        last: whether it was the last observed round, of which more is asked.
        plan: how gradients were computed, in words.
        unused: parameters that the loss does not use.
        broken: records whose gradients hold NaN or inf.
        reuse: of each split, in words, how far its batches share records.
        seconds: spent in each stage.
    """

    round: int
    step: int
    guesses: list[Guesses]
    target: int | None
    size: int
    last: bool
    plan: str
    unused: list[str]
    broken: list[int]
    reuse: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)


class Player:
    """The challenger and all adversaries of one match, and of the points of its curve.

    Args:
        setting: of the match.

    Attributes:
        matches: the match, and the points of its aggregation curve.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self._threads = setting, setting.game.cores
        match = Match(setting.game, setting.population, setting.defense, setting.layout)
        self.matches = [match, *(match.at(game) for game in setting.game.curve())]

    @property
    def match(self) -> Match:
        """That of the game itself."""
        return self.matches[0]

    def aim_at(self, target: int) -> None:
        """Makes one record the target of every trial, where the game asks for the worst."""
        for match in self.matches if self.setting.game.aims_at_worst else ():
            match.aim_at(target)

    def play(self, snapshot: Snapshot, progress: Progress, ranks: Ranks = ALONE) -> Played:
        """Plays one round.

        Args:
            snapshot: the weights of the round.
            progress: is told what is under way.
            ranks: processes that all play this round, and share the work.
        """
        start, game = time.perf_counter(), self.setting.game
        snapshot.check_witness(self.setting.population, game)
        with _budget(self._threads), ThreadPoolExecutor(game.workers) as pool:
            tasks = _Tasks(pool, ranks)
            engine = snapshot.engine(self.setting.population, game, ranks)
            unaware = None
            if bottlenecks(snapshot.module):
                with silenced(snapshot.module):
                    unaware = snapshot.engine(self.setting.population, game, ranks)
            last = snapshot.round == max(game.rounds)
            observations = []
            for match in self.matches if last else self.matches[:1]:
                if self.match.target is not None and game.aims_at_worst:
                    match.aim_at(self.match.target)
                given = snapshot.round, engine, tasks.submit, progress, unaware
                observations.append(match.observe(*given, snapshot.live))
            released = time.perf_counter()
            progress("adversaries")
            guesses = [Guesses(tasks.results(seen), seen.units) for seen in observations]
            broken = {r for some in ranks.gather(lambda: engine.broken) for r in some}
        return Played(
            snapshot.round,
            snapshot.step,
            guesses,
            self.match.target,
            snapshot.size,
            last,
            f"{engine.plan}, p = {engine.layout.p} parameters",
            list(engine.unused),
            sorted(broken),
            self.match.reuse,
            {"releases": released - start, "adversaries": time.perf_counter() - released},
        )

    def trimmed(self, played: Played) -> Played:
        """A round of a run that ended there: without what is asked of the last one alone."""
        if not played.last or played.round == max(self.setting.game.rounds):
            return played
        first = played.guesses[0]
        seen = {key: observed for key, observed in first.guesses.items() if key[2] == SEEN}
        return replace(played, guesses=[Guesses(seen, first.units)], last=False)

    def judge(self, played: Played) -> list[list[Graded]]:
        """The figures of a round, of each match that was played; rounds come in their order."""
        if played.target is not None:
            self.aim_at(played.target)
        figures = []
        with _budget(self._threads):
            for match, some in zip(self.matches, played.guesses, strict=False):
                ready = {key: made(observed) for key, observed in some.guesses.items()}
                figures.append(match.judge(Observation(played.round, ready, some.units)))
        return figures


class _Tasks:
    """The fits of adversaries, each in one process of those that share the work."""

    def __init__(self, pool: ThreadPoolExecutor, ranks: Ranks) -> None:
        self._pool, self._ranks, self._count = pool, ranks, 0
        self._elsewhere: set[Future[Observed]] = set()

    def submit(self, task: Callable[[], Observed]) -> Future[Observed]:
        """Runs a task here, or leaves it to the process whose turn it is."""
        here = self._count % self._ranks.size == self._ranks.rank
        self._count += 1
        if here:
            return self._pool.submit(task)
        future: Future[Observed] = Future()
        self._elsewhere.add(future)
        return future

    def results(self, observation: Observation) -> dict[Key, Observed]:
        """What all processes found, in the order of the table."""

        def mine() -> dict[Key, Observed]:
            futures = observation.guesses.items()
            return {
                key: _plain(future.result())
                for key, future in futures
                if future not in self._elsewhere
            }

        found: dict[Key, Observed] = {}
        for some in self._ranks.gather(mine):
            found |= some
        return {key: found[key] for key in observation.guesses}


def _plain(observed: Observed) -> Observed:
    """The same in rows, as files keep it: sums over other layouts end in other digits."""

    def rows(sources: Sequence[Array]) -> list[Array]:
        return [np.ascontiguousarray(source) for source in sources]

    return Observed(rows(observed.calibrate), rows(observed.challenge), rows(observed.live))


@contextmanager
def _budget(threads: int) -> Iterator[None]:
    """Where torch and BLAS use no more threads, which decide the last digits of a sum."""
    if not threads:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
