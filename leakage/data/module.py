"""What the data sets share: one folder or its stand-in, splits, loaders, checkpoints."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from typing_extensions import override

from leakage.data.files import is_web_page
from leakage.data.standins.marker import MARKER, StandIn, read_marker
from leakage.errors import LeakageError
from leakage.origin import origin
from leakage.population import Population

logger = logging.getLogger("leakage.data")

SHARES = {
    "train": 0.4,
    "validation": 0.1,
    "shadow_fit": 0.2,
    "shadow_calibrate": 0.1,
    "challenge": 0.2,
}
"""Shares of the units, where a data set comes with a test split of its own."""
ALL_SHARES = {
    "train": 0.35,
    "validation": 0.1,
    "test": 0.1,
    "shadow_fit": 0.2,
    "shadow_calibrate": 0.1,
    "challenge": 0.15,
}
"""Shares of the units of a data set without one."""


ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


class FolderData(LightningDataModule, ABC):
    """A data set that lies in one folder in its official layout; an item is (x float32, y int64).

    Args:
        root: the folder.
        standin: write made-up files to the root where it has none.
        standin_size: of the made-up set, in the unit of its generator.
        standin_seed: of the generator of made-up files.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.

    Raises:
        LeakageError: a setting is out of its range.
    """

    made_up: ClassVar[StandIn]
    """The generator of stand-ins, which has the name of the data set too."""
    classes: ClassVar[int]
    """The number of labels."""

    def __init__(
        self,
        root: str,
        standin: bool,
        standin_size: int,
        standin_seed: int,
        batch_size: int,
        seed: int,
        num_workers: int,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.standin = standin
        self.standin_size = standin_size
        self.standin_seed = standin_seed
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        for key, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise LeakageError(f"data.{key}: at least {least} is needed, got {value}")
        if not 0 <= standin_seed < 2**32:
            raise LeakageError(
                f"data.standin_seed: a number from 0 to 2^32 - 1, got {standin_seed}"
            )
        self._population: Population | None = None

    @property
    @abstractmethod
    def official(self) -> Sequence[str]:
        """The files and folders that make up the official layout."""

    @abstractmethod
    def read(self, standin: bool) -> Population:
        """Reads the root, which has all that is official.

        Raises:
            LeakageError: by file and row, what is wrong.
        """

    @property
    def population(self) -> Population:
        """The records and their parts, known after `setup`."""
        if self._population is None:
            name = type(self).__name__
            raise LeakageError(f"{name}.population is known after prepare_data() and setup() only")
        return self._population

    def holds(self, name: str) -> bool:
        """Whether the root has one of what is official."""
        return (self.root / name).exists()

    @override
    def prepare_data(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise LeakageError(f"data.root: {self.root} is a file, a folder is needed")
        marker = read_marker(self.root)
        if marker is None:
            write = not any(map(self.holds, self.official))
        else:
            wanted = self.made_up.settings(self.standin_size, self.standin_seed)
            whole = all((self.root / name).exists() for name in marker["sha256"])
            write = marker["settings"] != wanted or not whole
            if write and self.standin:
                logger.info(
                    "%s: writing the stand-in again, as %s, not %s; data.standin_size and"
                    " data.standin_seed decide",
                    self.root,
                    wanted,
                    marker["settings"],
                )
        if marker is None and write:
            self._check_archives()
        if write and self.standin:
            self.made_up.write(self.root, size=self.standin_size, seed=self.standin_seed)
            marker = read_marker(self.root)
        elif marker is None:
            self.fetch()
        self._check_root(marker)

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._population is not None:
            return
        marker = read_marker(self.root)
        self._check_root(marker)
        self._population = self.read(marker is not None)
        sizes = self._population.splits.items()
        logger.info(
            "%s in %s (%s): %s records",
            self.made_up.name,
            self.root,
            origin(marker is not None),
            ", ".join(f"{name} {len(indices)}" for name, indices in sizes),
        )

    def fetch(self) -> None:
        """Gets what is official and missing, where the settings and the owner's terms say so."""

    def ways_in(self) -> str:
        """What may be done where the root is empty, as a part of a sentence."""
        return f"point data.root at the folder of the official files of {self.made_up.name}"

    def _check_root(self, marker: dict[str, Any] | None) -> None:
        """Refuses a folder without all that is official, with the ways out."""
        if marker is not None:
            missing = [name for name in marker["sha256"] if not (self.root / name).exists()]
            if missing:
                raise LeakageError(
                    f"{self.root}: the stand-in was interrupted and lacks {some(missing)}; set"
                    f" data.standin=true to write it again, or delete {MARKER} and put the official"
                    " files there"
                )
        missing = [name for name in self.official if not self.holds(name)]
        if not missing:
            return
        self._check_archives()
        if len(missing) == len(self.official):
            raise LeakageError(
                f"{self.root}: found no {some(missing, 'or')}; {self.ways_in()}, or set"
                " data.standin=true to work with made-up records"
            )
        raise LeakageError(
            f"{self.root / missing[0]}: it is missing, while other files of {self.made_up.name} are"
            " there; put it beside them, or point data.root at an empty folder"
        )

    def _check_archives(self) -> None:
        """Refuses an archive that nobody has unpacked, in a folder that lacks what is official."""
        archives = self.root.iterdir() if self.root.is_dir() else ()
        for archive in sorted(path for path in archives if path.suffix.lower() in ARCHIVES):
            with archive.open("rb") as file:
                page = is_web_page(file.read(1024))
            raise LeakageError(
                f"{archive}: found a web page (a failed download), expected an archive"
                if page
                else f"{archive}: found an archive; unpack it, so that {self.root} has"
                f" {some(self.official)}"
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"splits": self.population.fingerprint}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.population.check_fingerprint(state_dict["splits"])

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader[Any]:
        indices: Sequence[int] = self.population.splits[split].tolist()
        return DataLoader(
            Subset(self.population.records, indices),
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._loader("train", shuffle=True)

    @override
    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._loader("validation")

    @override
    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._loader("test")


def check_units(folder: Path, found: int, units: str, shares: Mapping[str, float]) -> None:
    """Refuses so few units that a split could be left with none."""
    least = math.floor(1 / min(shares.values())) + 1
    if found < least:
        raise LeakageError(
            f"{folder}: found {found} {units}, at least {least} are needed to divide them into"
            f" {', '.join(shares)}"
        )


def some(names: Sequence[str], word: str = "and") -> str:
    """At most four names in a row, and how many more there are.

    >>> some(["a", "b", "c"]), some(list("abcdef"))
    ('a, b and c', 'a, b, c, d and 2 more')
    """
    if len(names) > 4:
        return f"{', '.join(names[:4])} {word} {len(names) - 4} more"
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
