"""Which runs are in a folder, and which games each of them has played."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leakage.errors import LeakageError

_FILE = re.compile(r"(?:(attack|run)|audit)(_\d+)?\.(csv|json)")
_PLAYED = re.compile(rb"^(attack|audit):", re.M)
_EVALUATED = re.compile(rb"^verbose:", re.M)  # a key of validate and test alone
_SWEEP = "sweep.json"  # names the cells of a sweep; folders of earlier ones stay beside them
CELL = "cell.yaml"  # the config of a cell, from before it is played
_WITHIN = {"attack", "checkpoints", "canaries"}  # folders of a run in which there is no other


@dataclass(frozen=True)
class Place:
    """Where one game of a run has left its files.

    Args:
        folder: of the run.
        audits: whether it is an audit.
        suffix: of the files, where several attacks or audits ran in one Trainer.
        cell: its name in a sweep; empty where there was none.
    """

    folder: Path
    audits: bool = False
    suffix: str = ""
    cell: str = ""

    @property
    def table(self) -> Path:
        """Its figures, one a row."""
        return self.folder / f"{'audit' if self.audits else 'attack'}{self.suffix}.csv"

    @property
    def told(self) -> Path:
        """What the run was."""
        return self.folder / f"{'audit' if self.audits else 'run'}{self.suffix}.json"

    @property
    def predicted(self) -> Path:
        """Which held-out records the model was right about."""
        return self.folder / f"predicted{self.suffix}.safetensors"

    @property
    def rounds(self) -> Path:
        """The folder of the rounds that were played."""
        return self.folder / f"attack{self.suffix}"


def places_in(folders: Sequence[Path]) -> list[Place]:
    """The games of all runs in some folders, and below them, each once.

    Args:
        folders: of runs, or above them.

    Raises:
        LeakageError: one that is not there, cannot be read, or has no run in it.
    """
    found: dict[tuple[Path, bool, str], Place] = {}
    for folder in folders:
        if not folder.is_dir():
            kind = "is a file, a folder of runs is needed" if folder.exists() else "is not there"
            raise LeakageError(f"{folder}: it {kind}")
        places = list(_below(folder))
        if not places:
            raise LeakageError(
                f"{folder}: there is no run in it or below it: none has left attack.csv, audit.csv"
                " or config.yaml; give a folder that a run has named at its end, or one above it"
            )
        for place in places:
            found.setdefault((place.folder.resolve(), place.audits, place.suffix), place)
    return list(found.values())


def names_of(places: Sequence[Place]) -> list[str]:
    """A short name for each game, unique among them: its cell, or the folder below a shared one."""
    folders = [place.folder.resolve() for place in places]
    several = len(set(folders)) > 1
    above = Path(os.path.commonpath(folders)) if several else folders[0].parent
    names = []
    for place, folder in zip(places, folders, strict=True):
        name = folder.relative_to(above).as_posix()
        name = folder.name if name == "." else name
        if place.cell and len({other.folder for other in places if other.cell == place.cell}) == 1:
            name = place.cell
        number = place.suffix.removeprefix("_")
        what = " ".join(
            filter(None, ("audit" if place.audits else "attack" * bool(number), number))
        )
        names.append(f"{name}, {what}" if what else name)
    return names


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # as of a cell that is not played yet
        raise LeakageError(f"{error.filename}: it cannot be read: {error.strerror}") from error


def _below(folder: Path) -> Iterator[Place]:
    # What cannot be looked into may hold a run that fails a condition.
    for root, inner, files in os.walk(folder, onerror=_refuse):
        if _SWEEP in files:
            yield from _of_sweep(Path(root))
            inner.clear()
            continue
        here = list(_played(Path(root), files))
        yield from here
        inner[:] = sorted(
            (name for name in inner if not name.startswith(".") and not (here and name in _WITHIN)),
            key=_natural,
        )


def _of_sweep(folder: Path) -> Iterator[Place]:
    """The games of all cells of a sweep, in the order of its grid; also of those not played yet."""
    path = folder / _SWEEP
    try:
        told = json.loads(path.read_bytes())["cells"]
        cells = {Path(cell["folder"]): str(cell["name"]) for cell in told}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LeakageError(
            f"{path}: it does not name the cells of a sweep; start the sweep again, which writes it"
        ) from error
    for inside, name in cells.items():
        for place in list(_below(folder / inside)) or [_unplayed(folder / inside)]:
            yield replace(place, cell=name)


def _unplayed(folder: Path) -> Place:
    """A cell that has left no figures and no config of its own: nothing is sure of it."""
    path = folder / CELL
    asked = _PLAYED.search(path.read_bytes()) if path.is_file() else None
    return Place(folder, audits=asked is not None and asked[1] == b"audit")


def _played(folder: Path, files: Sequence[str]) -> Iterator[Place]:
    matches = filter(None, map(_FILE.fullmatch, files))
    games = {(match[1] is None, match[2] or "") for match in matches}
    if games:
        for audits, suffix in sorted(games):
            yield Place(folder, audits, suffix)
    elif "config.yaml" in files:
        config = (folder / "config.yaml").read_bytes()
        asked = _PLAYED.search(config)
        if asked and not _EVALUATED.search(config):  # it was killed before its first figure
            yield Place(folder, audits=asked[1] == b"audit")


def _natural(name: str) -> list[tuple[str, int]]:
    """Version_2 before version_10."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name)]
