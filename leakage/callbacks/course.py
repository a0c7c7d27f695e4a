"""Which rounds of a match have been taken, and what is kept of them in the folder of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from leakage import __version__
from leakage.answered import Answered
from leakage.archive import Archive
from leakage.distributed import gathered
from leakage.player import Played, Setting
from leakage.rules import FREE
from leakage.snapshot import Snapshot

Held = tuple[int, dict[str, Tensor], tuple[int, Tensor] | None]
_log = logging.getLogger("leakage.attack")
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn")


class Course:
    """The rounds so far; of several processes, the first keeps the files.

    Args:
        folder: of the rounds; None where nothing is left behind.
        origin: that of the run whose checkpoint training goes on from, where there is one.
        setting: of the match.
        keys: by round, those of that checkpoint.
        run: what tells this run from others that begin with the same weights; empty where nothing
            does, and then only a checkpoint makes a folder its own.

    Attributes:
        keys: by round, what changes with all that its figures follow from.
        goes_on: whether the folder holds rounds of this very run, which was killed.
    """

    def __init__(
        self,
        folder: Path | None,
        origin: Path | None,
        setting: Setting,
        keys: Mapping[int, str],
        run: str = "",
    ) -> None:
        self._known = bool(keys or run)
        self.keys, self.goes_on, self._cleared = dict(keys), False, False
        self._archive = Archive(folder) if folder else None
        self._origin = Archive(origin) if origin and origin != folder else None
        rules = {name: v for name, v in setting.game.settings.items() if name not in FREE}
        versions = [version(library) for library in _LIBRARIES]
        data = setting.population.fingerprint
        self._kept: dict[int, int] = {}  # by round that is there already, the size of its real step
        self._names = (repr(rules), repr(setting.defense), data, __version__, run, *versions)

    def take(self, snapshot: Snapshot) -> Played | None:
        """Notes a round; what was played of it before, in a run that was killed.

        Args:
            snapshot: with its witness, which tells code of a model that was changed since.
        """
        # Rounded, as the last digits of a loss may differ between threads and devices.
        witness = "" if snapshot.witness is None else f"{snapshot.witness:.4g}"
        round_, key = snapshot.round, snapshot.digest(*self._names, witness)
        self.keys[round_] = key
        played = None
        if self._archive is not None and self._known:
            played = self._archive.load(round_, key)
            self.goes_on |= bool(played or self._archive.weights(round_, key))
            self._kept |= {round_: played.size} if played else {}
        return gathered(played)[0]

    def before(self, now: Snapshot) -> Iterator[tuple[int, Played | Snapshot | None]]:
        """The rounds up to a checkpoint: as they were played, or to be played; or lost.

        Args:
            now: the module; those to be played are made of copies of it.
        """
        for round_, key in sorted(self.keys.items()):
            played, held = gathered(self._look_up(round_, key))[0]
            if played is not None:
                yield round_, played
            elif held is not None:
                yield round_, now.at(round_, *held)
            else:
                yield round_, None

    def _look_up(self, round_: int, key: str) -> tuple[Played | None, Held | None]:
        for archive in filter(None, (self._archive, self._origin)):
            played = archive.load(round_, key)
            held = None if played else archive.weights(round_, key)
            if archive is self._archive:
                self.goes_on |= bool(played or held)
                self._kept |= {round_: played.size} if played else {}
            if played:
                return played, None
            if held:
                return None, (*held, archive.live(round_, key))
        return None, None

    def hold(self, snapshot: Snapshot) -> None:
        """Keeps what a round is to be played on until it was played."""
        if archive := self._own():
            round_, key = snapshot.round, self.keys[snapshot.round]
            try:
                archive.keep_weights(round_, key, snapshot.step, snapshot.tensors)
            except KeyError as error:  # a type of numbers that safetensors does not have
                _log.warning(
                    "round %d is lost if training is interrupted before it was played: the module"
                    " holds %s, which cannot be kept",
                    round_,
                    error.args[0],
                )

    def hold_live(self, snapshot: Snapshot) -> None:
        """Keeps what was released of the first step of a round."""
        if snapshot.live is not None and (archive := self._own()):
            key, size = self.keys[snapshot.round], snapshot.size
            archive.keep_live(snapshot.round, key, snapshot.live, size)

    def keep(self, played: Played, answered: Mapping[str, Answered]) -> None:
        """Keeps a round that was played, and what was answered in it."""
        if not (archive := self._own()):
            return
        archive.keep_answered(played.round, answered)  # their sum, too, of rounds that are new
        if self._kept.get(played.round) == played.size:
            archive.drop_weights(played.round)
        else:  # new, or played again with the releases of a step
            archive.keep(played, self.keys[played.round])

    def _own(self) -> Archive | None:
        """The archive to write to, once that of another run in the same place is out of the way."""
        if self._archive is not None and not (self.goes_on or self._cleared):
            self._archive.make_room()
        self._cleared = True
        return self._archive
