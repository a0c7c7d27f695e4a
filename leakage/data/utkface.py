"""UTKFace (Zhang et al. 2017): in which of five age bands is the person in a photograph."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from typing_extensions import override

from leakage.data.decoded import decode
from leakage.data.images import (
    SUFFIXES,
    ImageRecords,
    Picture,
    check_size,
    duplicates,
    thumbnails,
)
from leakage.data.module import ALL_SHARES, FolderData, check_units, some
from leakage.data.standins.utkface import UTKFACE
from leakage.data.traits import make_trait
from leakage.data.unreadable import Unreadable, check_max_unreadable
from leakage.errors import LeakageError
from leakage.population import Population, split_by_unit
from leakage.randomness import torch_generator

logger = logging.getLogger("leakage.data")

AGE_BANDS = ("under 18", "18 to 29", "30 to 44", "45 to 59", "60 and over")
"""The labels in their order."""
AGE_BAND_STARTS = (18, 30, 45, 60)
OLDEST = 116
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Other")
EXAMPLE = "25_0_1_20170116174525125.jpg.chip.jpg"

# Where the race is missing the time stands in its place, and a 2 or 3 of it would be taken for
# one; so the time is asked for too. What follows it does not matter: the official set has names
# that end in "jpg" without the dot, in ".pg", or with a blank before ".jpg".
_NAME = re.compile(r"([0-9]{1,3})_([01])_([0-4])_[0-9]{14,17}(?![0-9]).*")
_MALFORMED = (
    f"a name that is not age_gender_race_time, with an age of 0 to {OLDEST}, the gender 0 or 1,"
    " the race 0 to 4 and 14 to 17 digits of time"
)


class UTKFace(FolderData):
    """Reader, splits and loaders of UTKFace; x is a picture (3, size, size) in [-1, 1], y in 0..4.

    y is the position of the age in `AGE_BANDS`. The set does not say who is who, so each record
    is a unit of its own, and they are divided by `ALL_SHARES`. Of files with the same bytes one
    alone is read, and none where their names differ in age, gender or race. The images lie in
    the root or in one folder in it, in the aligned or in the original form.

    Args:
        root: the folder.
        standin: write made-up files to the root where it has none.
        standin_size: images of the made-up set.
        standin_seed: of the generator of made-up files.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.
        max_unreadable: the share of the images that may have a malformed name or be none, in 0..1.
        size: pixels along either side of x, 8 to 512.

    Raises:
        LeakageError: a setting is out of its range.
    """

    classes = len(AGE_BANDS)
    made_up = UTKFACE

    def __init__(
        self,
        root: str = "data/utkface",
        standin: bool = False,
        standin_size: int = 4000,
        standin_seed: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        max_unreadable: float = 0.01,
        size: int = 64,
    ) -> None:
        super().__init__(root, standin, standin_size, standin_seed, batch_size, seed, num_workers)
        check_max_unreadable(max_unreadable)
        check_size(size)
        self.max_unreadable = max_unreadable
        self.picture = Picture(size)

    @property
    @override
    def official(self) -> tuple[str]:
        return (f"images named like {EXAMPLE}",)

    @override
    def holds(self, name: str) -> bool:
        return bool(self._folders())

    def _folders(self) -> list[Path]:
        """The root and the folders in it, as far as they hold images of UTKFace."""
        if not self.root.is_dir():
            return []
        inner = (path for path in self.root.iterdir() if path.is_dir() and path.name[0] != ".")
        return [
            folder
            for folder in (self.root, *sorted(inner))
            if any(parse(path.name) for path in folder.iterdir())
        ]

    @override
    def read(self, standin: bool) -> Population:
        folder, *others = self._folders()
        if others:
            places = some([str(place) for place in (folder, *others)])
            raise LeakageError(
                f"{self.root}: found images in {places}, which may be the same people; point"
                " data.root at one of them"
            )
        unreadable = Unreadable(folder, "images")
        files, known = _read_names(folder, unreadable)
        total = len(files) + len(unreadable)
        decoded = decode(files, self.picture, self.root, unreadable)
        unreadable.settle(total, self.max_unreadable)
        position = decoded.position.numpy()
        rows = self._without_copies([files[i] for i in position], known[position], unreadable)
        check_units(folder, len(rows), "images that can be read", ALL_SHARES)
        age, gender, race = known[position][rows.numpy()].T
        labels = torch.from_numpy(np.digitize(age, AGE_BAND_STARTS))
        units = torch.arange(len(rows))
        return Population(
            name="UTKFace",
            records=ImageRecords(decoded.x, rows, labels),
            labels=labels,
            features=thumbnails(decoded.x, rows),
            traits={
                "gender": make_trait("gender", GENDERS, torch.from_numpy(gender)),
                "race": make_trait("race", RACES, torch.from_numpy(race)),
            },
            units=units,
            splits=split_by_unit(
                units, ALL_SHARES, torch_generator(self.seed, "utkface", "splits")
            ),
            standin=standin,
        )

    def _without_copies(
        self,
        files: Sequence[Path],
        known: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        unreadable: Unreadable,
    ) -> torch.Tensor:
        """Positions of the files without copies of earlier ones, and without those in doubt."""
        copies, doubtful = [], []
        for group in duplicates(files, self.root, unreadable):
            if (known[group] == known[group[0]]).all():
                copies += group[1:]
            else:
                doubtful += group
        for found, why in (
            (copies, "byte-identical copies of others"),
            (doubtful, "byte-identical while their names differ in age, gender or race"),
        ):
            if found:
                told = f"{len(found)} of {len(files)} images left out: {why}"
                logger.info("%s: %s (the first: %s)", self.root, told, files[min(found)].name)
        left_out = torch.tensor(copies + doubtful, dtype=torch.int64)
        everything = torch.arange(len(files))
        return everything[~torch.isin(everything, left_out)]


def parse(name: str) -> tuple[int, int, int] | None:
    """Age in years, gender and race in the name of a file; None where it does not tell them.

    >>> parse("25_0_1_20170116174525125.jpg.chip.jpg"), parse("61_3_20170109150557335.jpg")
    ((25, 0, 1), None)
    """
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) > OLDEST:
        return None
    return int(match[1]), int(match[2]), int(match[3])


def _read_names(
    folder: Path, unreadable: Unreadable
) -> tuple[list[Path], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """The images by their names, in the order of these, and what each tells, (n, 3)."""
    files, known = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        told = parse(path.name)
        if told is not None:
            files.append(path)
            known.append(told)
        elif path.suffix.lower() in SUFFIXES or re.match("[0-9]+_", path.name):
            unreadable.add(path.name, _MALFORMED)
    return files, np.array(known, dtype=np.int64).reshape(-1, 3)
