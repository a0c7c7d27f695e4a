"""CREMA-D (Cao et al. 2014): which of six emotions an actor speaks a sentence with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from typing_extensions import override

from leakage.data.crema_d_files import (
    ACTORS,
    AUDIO,
    CLIPS,
    EMOTIONS,
    FILES,
    Clip,
    make_traits,
    read_actors,
    read_clips,
)
from leakage.data.decoded import decode
from leakage.data.module import ALL_SHARES, FolderData, check_units
from leakage.data.sounds import LogMel
from leakage.data.standins.crema_d import CREMA_D
from leakage.data.unreadable import Unreadable, check_max_unreadable
from leakage.errors import LeakageError
from leakage.population import Population, split_by_unit
from leakage.randomness import torch_generator

logger = logging.getLogger("leakage.data")


class CremaD(FolderData):
    """Reader, splits and loaders of CREMA-D; x is a spectrogram (1, mels, frames), y in 0..5.

    x is what `LogMel` makes of a clip, standardised row by row over the train records, and y the
    position of the emotion in `EMOTIONS`. The unit is the actor, and the actors are divided by
    `ALL_SHARES`. Of clips that sound the same one alone is read. The official files are those of
    a clone of github.com/CheyneyComputerScience/CREMA-D by git with git-lfs; some of the clips
    are enough, beside the demographics of all actors.

    Args:
        root: folder of AudioWAV and VideoDemographics.csv.
        standin: write made-up files to the root where it has none.
        standin_size: clips of the made-up set.
        standin_seed: of the generator of made-up files.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.
        max_unreadable: the share of the clips that may be left out as silent, cut short, copies of
            others and the like, in 0..1.
        mels: rows of x, 8 to 128.
        frames: columns of x, of 25 ms each, 8 to 512.

    Raises:
        LeakageError: a setting is out of its range.
    """

    classes = len(EMOTIONS)
    made_up = CREMA_D

    def __init__(
        self,
        root: str = "data/crema_d",
        standin: bool = False,
        standin_size: int = 2000,
        standin_seed: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        max_unreadable: float = 0.01,
        mels: int = 64,
        frames: int = 128,
    ) -> None:
        super().__init__(root, standin, standin_size, standin_seed, batch_size, seed, num_workers)
        check_max_unreadable(max_unreadable)
        self.max_unreadable = max_unreadable
        # More rows than 128, and the narrowest would lie between two frequencies of the window.
        for key, value, most in (("mels", mels, 128), ("frames", frames, 512)):
            if not 8 <= value <= most:
                raise LeakageError(f"data.{key}: 8 to {most}, got {value}")
        self.decoder = LogMel(mels=mels, frames=frames)

    @property
    @override
    def official(self) -> tuple[str, ...]:
        return FILES

    @override
    def read(self, standin: bool) -> Population:
        unreadable = Unreadable(self.root / AUDIO, "clips")
        named = read_clips(self.root, unreadable)
        actors = read_actors(self.root, {clip.actor for clip in named})
        clips, x = self._hear(named, unreadable)
        labels = torch.tensor([EMOTIONS.index(clip.emotion) for clip in clips])
        units = torch.tensor([clip.actor for clip in clips])
        self._tell_speakers(units, standin)
        splits = split_by_unit(units, ALL_SHARES, torch_generator(self.seed, "crema_d", "splits"))
        _standardise(x, splits["train"])
        spread, mean = torch.std_mean(x.squeeze(1), dim=2, correction=0)  # (N, mels) each
        return Population(
            name="CREMA-D",
            records=TensorDataset(x, labels),
            labels=labels,
            features=torch.cat([mean, spread], dim=1),
            traits=make_traits(clips, actors),
            units=units,
            splits=splits,
            standin=standin,
        )

    def _hear(self, clips: Sequence[Clip], unreadable: Unreadable) -> tuple[list[Clip], Tensor]:
        """The clips that are sounds and copies of none before them, and their spectrograms."""
        total = len(clips) + len(unreadable)
        decoded = decode([clip.path for clip in clips], self.decoder, self.root, unreadable)
        heard = [clips[position] for position in decoded.position.tolist()]
        first = _first_of_each(decoded.x)
        for i in sorted(set(range(len(heard))) - set(first)):
            unreadable.add(heard[i].path.name, "a copy of another clip")
        unreadable.settle(total, self.max_unreadable)
        x = decoded.x if len(first) == len(heard) else decoded.x[first]
        return [heard[i] for i in first], x

    def _tell_speakers(self, units: Tensor, standin: bool) -> None:
        """Refuses too few actors for the splits, and says how much of the set is there."""
        speakers = len(units.unique())
        check_units(self.root / AUDIO, speakers, "actors", ALL_SHARES)
        if not standin:
            there = f"{len(units)} of the {CLIPS} clips of CREMA-D, of {speakers} of its"
            logger.info("%s: %s %d actors", self.root / AUDIO, there, len(ACTORS))


def _first_of_each(x: Tensor) -> list[int]:
    """The rows that equal none before them, ascending."""
    first: dict[bytes, int] = {}
    for i, row in enumerate(x.numpy()):
        first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), i)
    return list(first.values())


def _standardise(x: Tensor, train: Tensor) -> None:
    """Gives each row of the spectrograms (N, 1, mels, frames) mean 0 and variance 1 on train."""
    for row in x.numpy().transpose(2, 0, 1, 3):  # (N, 1, frames), one at a time to bound memory
        of_train = row[train].astype(np.float64)
        spread = of_train.std()
        row -= of_train.mean()
        row /= spread if spread > 0 else 1
