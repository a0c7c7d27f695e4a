"""The work of the process beside training: matches, and the rounds that they are played in."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import traceback
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from typing_extensions import override

from leakage.background.freight import unpack
from leakage.background.messages import Failed, Hello, Meeting, Open, Play, Result, Said, Step
from leakage.errors import LeakageError
from leakage.player import Player
from leakage.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    Line = Connection[Any, Any]

_PATIENCE = timedelta(days=7)  # a rank may have to wait for a long step of another
_MEETING = timedelta(minutes=10)  # in which a busy machine has loaded the libraries of all


class _Worker:
    def __init__(self, line: Line) -> None:
        self._line, self._lock = line, threading.Lock()
        self._players: dict[int, Player] = {}
        self._ranks = ALONE

    def say(self, message: object) -> None:
        with self._lock:  # logs come from the threads of adversaries too
            try:
                self._line.send_bytes(pickle.dumps(message))
            except OSError:  # the parent is gone, and nobody is left to be told
                os._exit(0)

    def take(self, message: Open | Play) -> None:
        if isinstance(message, Open):
            if message.meeting is not None and self._ranks is ALONE:
                self._ranks = _meet(message.meeting)
            self._players[message.number] = Player(pickle.loads(message.setting))
        else:
            self._play(message)

    def _play(self, message: Play) -> None:
        player = self._players[message.number]
        if message.target is not None:
            player.aim_at(message.target)

        def progress(text: str) -> None:
            self.say(Step(message.number, message.round, text))

        played = message.played
        if played is None:
            population = player.setting.population
            known = {"records": population.records, "population": population}
            try:
                snapshot = unpack(message.snapshot, known)
            except Exception as error:  # a module of a file that is on no path of imports
                raise LeakageError(
                    f"attack.background: the model cannot be loaded in another process: {error};"
                    " set attack.background to false"
                ) from error
            played = player.play(snapshot, progress, self._ranks)
        figures = [] if self._ranks.rank else player.judge(played)
        self.say(Result(message.number, played, figures))


def _meet(meeting: Meeting) -> Ranks:
    place = (meeting.host, meeting.port, meeting.size, meeting.rank == 0, _MEETING)
    try:
        store = TCPStore(*place)
        torch.distributed.init_process_group(
            "gloo", store=store, rank=meeting.rank, world_size=meeting.size, timeout=_PATIENCE
        )
    except RuntimeError as error:  # one has ended before, or the port was taken meanwhile
        reason = str(error).partition("\n")[0]
        raise LeakageError(
            f"attack.background: the processes beside the {meeting.size} ranks did not meet"
            f" ({reason}); set attack.background to false"
        ) from error
    return Ranks(torch.distributed.group.WORLD)


class _Told(logging.Handler):
    """Passes the program's own log on to the parent, which shows it as its own."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__()
        self._worker = worker

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._worker.say(Said(record.name, record.levelno, record.getMessage()))


def work(line: Line, given: queue.SimpleQueue[bytes]) -> None:
    """Plays what comes, for ever.

    Args:
        line: to the parent.
        given: what it says, in order, settings of torch first.
    """
    hello: Hello = pickle.loads(given.get())
    hello.take()
    warnings.simplefilter("ignore", FutureWarning)
    worker = _Worker(line)
    log = logging.getLogger("leakage")
    log.setLevel(logging.INFO)
    log.addHandler(_Told(worker))
    log.propagate = False
    while True:
        message: Open | Play = pickle.loads(given.get())
        try:
            worker.take(message)
        except Exception as error:  # is the parent's to tell
            said = str(error).strip() or type(error).__name__
            trace = "" if isinstance(error, LeakageError) else traceback.format_exc()
            round_ = message.round if isinstance(message, Play) else -1
            worker.say(Failed(message.number, round_, said, trace))
