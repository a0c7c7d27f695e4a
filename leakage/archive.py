"""The rounds of a run on disk: what was played, and the weights of what is still to be played."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from torch import Tensor

from leakage.adversaries.posterior import Observed
from leakage.answered import Answered, answered_file
from leakage.player import Guesses, Played
from leakage.writing import keep_earlier, write_whole

_PARTS = ("calibrate", "challenge", "live")


class Archive:
    """A folder for its owner alone, with some files for each round.

    A round is known by a key, which changes with all that its figures follow from, so that no
    file outlives a change of what it came from.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    def make_room(self) -> None:
        """Renames the folder of another run, as attack.1 and so on; not one of anybody else's."""
        if self._folder.is_dir() and all(
            path.name.startswith("round_") for path in self._folder.iterdir()
        ):
            keep_earlier(self._folder)

    def load(self, round_: int, key: str) -> Played | None:
        """A round that was played with this key; None where there is none, or only a part."""
        try:
            with safe_open(self._played(round_), framework="numpy") as file:
                told = json.loads(file.metadata()["played"])
                if told.pop("key") != key:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return None
        guesses = [_guesses(match, names, arrays) for match, names in enumerate(told["guesses"])]
        return Played(**(told | {"guesses": guesses}))

    def keep(self, played: Played, key: str) -> None:
        """Writes a round that was played, whose weights are not needed any more."""
        arrays, names = _arrays(played)
        plain = {name: value for name, value in vars(played).items() if name != "guesses"}
        told = json.dumps(plain | {"guesses": names, "key": key})
        self._write(self._played(played.round), save_arrays(arrays, {"played": told}))
        self.drop_weights(played.round)

    def keep_answered(self, round_: int, answered: Mapping[str, Answered]) -> None:
        """Writes what was answered in a round, for whoever compares it with another run.

        Args:
            round_: epochs before the release.
            answered: in that round `alone`, and in the `sum` of all rounds so far.
        """
        for rounds, trials in answered.items():
            self._write(self._folder / answered_file(round_, rounds), trials.packed())

    def drop_weights(self, round_: int) -> None:
        """Removes what a round was played on; a run that was killed may have left it."""
        self._weights(round_).unlink(missing_ok=True)
        self._live(round_).unlink(missing_ok=True)

    def keep_weights(self, round_: int, key: str, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes what a round is to be played on."""
        told = {"key": key, "step": str(step)}
        plain = {name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()}
        self._write(self._weights(round_), save(plain, told))

    def weights(self, round_: int, key: str) -> tuple[int, dict[str, Tensor]] | None:
        """The optimizer steps before a round that was not played, and what it is played on."""
        found = self._tensors(self._weights(round_), key)
        return None if found is None else (int(found[0]["step"]), found[1])

    def keep_live(self, round_: int, key: str, live: Tensor, size: int) -> None:
        """Writes what clients released of the first step of a round."""
        told = {"key": key, "size": str(size)}
        self._write(self._live(round_), save({"live": live.contiguous()}, told))

    def live(self, round_: int, key: str) -> tuple[int, Tensor] | None:
        """The records of each client's batch in that step, and what was released of them."""
        found = self._tensors(self._live(round_), key)
        return None if found is None else (int(found[0]["size"]), found[1]["live"])

    def _tensors(self, path: Path, key: str) -> tuple[dict[str, str], dict[str, Tensor]] | None:
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
                if told.get("key") != key:
                    return None
                return told, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return None

    def _write(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data, private=True)

    def _played(self, round_: int) -> Path:
        return self._folder / f"round_{round_:05d}.safetensors"

    def _weights(self, round_: int) -> Path:
        return self._folder / f"round_{round_:05d}.weights.safetensors"

    def _live(self, round_: int) -> Path:
        return self._folder / f"round_{round_:05d}.live.safetensors"


def _arrays(played: Played) -> tuple[dict[str, NDArray[Any]], list[list[list[Any]]]]:
    """Every array by a name, and for each match the guessers in the order of their numbers."""
    arrays: dict[str, NDArray[Any]] = {}
    names: list[list[list[Any]]] = []
    for match, guesses in enumerate(played.guesses):
        arrays[f"{match}/units"] = np.ascontiguousarray(guesses.units)
        for number, observed in enumerate(guesses.guesses.values()):
            for part in _PARTS:
                for source, scores in enumerate(getattr(observed, part)):
                    arrays[f"{match}/{number}/{part}/{source}"] = scores
        names.append([[list(knowledge), name, seen] for knowledge, name, seen in guesses.guesses])
    return arrays, names


def _guesses(match: int, names: list[list[Any]], arrays: Mapping[str, NDArray[Any]]) -> Guesses:
    guesses = {}
    for number, (knowledge, name, seen) in enumerate(names):
        parts = []
        for part in _PARTS:
            place = f"{match}/{number}/{part}/"
            count = sum(stored.startswith(place) for stored in arrays)
            parts.append([arrays[f"{place}{source}"] for source in range(count)])
        guesses[tuple(knowledge), name, seen] = Observed(*parts)
    return Guesses(guesses, arrays[f"{match}/units"])
