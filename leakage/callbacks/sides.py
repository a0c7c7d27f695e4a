"""Where rounds are played: in a process beside training, or within it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator

import torch.distributed
from lightning import Trainer

from leakage.background.freight import pack
from leakage.background.messages import Meeting, Result, Step
from leakage.background.process import Background
from leakage.callbacks.requeue import is_to_leave
from leakage.callbacks.surroundings import progress_line
from leakage.distributed import gathered
from leakage.errors import LeakageError
from leakage.player import Played, Player
from leakage.ranks import ALONE, LOST, Ranks
from leakage.snapshot import Snapshot

_LOOK = 1.0  # seconds between two looks at what else is to be done
_log = logging.getLogger("leakage.attack")


class Side:
    """Plays the rounds of all attacks of a Trainer, one after the other.

    Args:
        beside: whether there is a process beside training.
    """

    def __init__(self, beside: bool) -> None:
        self._background = Background() if beside else None
        self._players: dict[int, Player] = {}
        self._within: set[int] = set()
        self._begun: set[int] = set()  # of which a round was played beside training
        self._ready: list[Result] = []
        self._ranks = ALONE
        self._meeting: Meeting | None = None
        self._failed: LeakageError | None = None

    @property
    def failed(self) -> bool:
        """Whether a round has failed, so that no other is played."""
        return self._failed is not None

    def refuse_failed(self) -> None:
        """Ends training because of a round that has failed, in all processes of training at once.

        Once a checkpoint was written, so that what was trained is not lost.
        """
        said = gathered(None if self._failed is None else str(self._failed))
        for sentence in sorted(filter(None, said), key=lambda sentence: LOST in sentence):
            raise LeakageError(sentence)

    @property
    def waiting(self) -> int:
        """Rounds whose figures were not handed out."""
        under_way = self._background.waiting if self._background else 0
        return under_way + len(self._ready)

    def open(self, trainer: Trainer, number: int, player: Player) -> None:
        """Begins the match of an attack, which all ranks do in the same order."""
        self._players[number] = player
        beside = self._background
        if beside is not None and player.setting.game.background:
            if trainer.world_size > 1 and self._meeting is None:
                self._meeting = _meeting(trainer)
            if self._sent(lambda: beside.open(number, player.setting, self._meeting)):
                return
        self._stay(trainer, number)

    def is_beside(self, number: int) -> bool:
        """Whether the rounds of an attack are played in the process beside training."""
        return self._background is not None and number not in self._within

    def play(self, trainer: Trainer, number: int, snapshot: Snapshot) -> None:
        """Plays a round, or has it played."""
        player, beside = self._players[number], self._background
        if beside is not None and self.is_beside(number):
            population, target = player.setting.population, player.match.target
            known = {"records": population.records, "population": population}

            def send() -> None:
                beside.play(number, snapshot.round, pack(snapshot, known, Trainer), target)

            if self._sent(send):
                self._begun.add(number)
                return
            if number in self._begun:  # those before it are there, and their sum with this one
                raise LeakageError(
                    f"model {type(snapshot.module).__name__}: since round {snapshot.round} it holds"
                    " what cannot go to another process; set attack.background to false"
                )
            self._stay(trainer, number)
        with progress_line(trainer) as bar:

            def progress(step: str) -> None:
                bar.set_description_str(f"attack, round {snapshot.round}: {step}")

            played = player.play(snapshot, progress, self._ranks)
        self._judge(number, played)

    def recall(self, number: int, played: Played) -> None:
        """Grades a round that was played before."""
        beside = self._background
        if beside is not None and self.is_beside(number):
            self._sent(lambda: beside.recall(number, played))
            self._begun.add(number)
        else:
            self._judge(number, played)

    def collect(self, trainer: Trainer, most: int) -> Iterator[Result]:
        """The figures of the rounds that are over, in their order; waits while more are not.

        Args:
            trainer: shows what is under way.
            most: rounds that may be left.
        """
        yield from self._results(0, lambda step: None)
        # Of a run that is told to stop, the rest is played when it goes on.
        while self.waiting > most and not self.failed and not _is_told_to_stop(trainer):
            yield from self._next(trainer)

    def _next(self, trainer: Trainer) -> list[Result]:
        """Waits for results; what is logged of them is not to stand beside the line of progress."""
        found: list[Result] = []
        with progress_line(trainer) as bar:

            def progress(step: Step) -> None:
                bar.set_description_str(f"attack, round {step.round}: {step.text}")

            while not (found or self.failed or _is_told_to_stop(trainer)):
                found = self._results(_LOOK, progress)
        return found

    def _results(self, wait: float, progress: Callable[[Step], None]) -> list[Result]:
        found, self._ready = self._ready, []
        if self._background is not None and self._background.waiting and not self.failed:
            try:
                found += self._background.results(0 if found else wait, progress)
            except LeakageError as error:
                self._fail(error)
        return found

    def _fail(self, error: LeakageError) -> None:
        """Notes an error, for all ranks to hear of where they meet: in `refuse_failed`.

        Until then this one goes on as the others do. They may wait for its process, which ends.
        """
        self._failed = error
        _log.error("%s; training ends with its next checkpoint", error)
        if self._background is not None:
            self._background.close()

    def close(self) -> None:
        """Ends the process beside training, whatever it is at."""
        if self._background is not None:
            self._background.close()
            self._background = None

    def _judge(self, number: int, played: Played) -> None:
        figures = [] if self._ranks.rank else self._players[number].judge(played)
        self._ready.append(Result(number, played, figures))

    def _stay(self, trainer: Trainer, number: int) -> None:
        """Plays the rounds of an attack within training."""
        self._within.add(number)
        if trainer.world_size > 1 and self._ranks is ALONE:
            self._ranks = Ranks(torch.distributed.new_group(backend="gloo"))

    def _sent(self, send: Callable[[], None]) -> bool:
        """Whether all ranks could send; whatever a module or a rule holds may not be able to go."""
        reason = ""
        try:
            if self._failed is None:
                send()
        except LeakageError as error:  # the process has ended, which all ranks hear of later
            self._fail(error)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        for said in filter(None, gathered(reason)):
            _log.info(
                "rounds are played within training, which waits for them: they cannot go to another"
                " process: %s",
                said,
            )
            return False
        return True


def _is_told_to_stop(trainer: Trainer) -> bool:
    return trainer.received_sigterm or is_to_leave(trainer)


def _meeting(trainer: Trainer) -> Meeting:
    """A free port of the machine of rank 0, where the processes beside training meet."""
    environment = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
    with socket.socket() as free:
        free.bind(("", 0))
        port = gathered(free.getsockname()[1])[0]
    size = trainer.world_size
    return Meeting(environment.main_address, port, trainer.global_rank, size)
