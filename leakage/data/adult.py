"""UCI Adult (Becker & Kohavi 1996): does a person of the 1994 US census earn above 50K a year."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset
from typing_extensions import override

from leakage.data.adult_files import COLUMNS, block_widths, encode, make_traits, read_rows
from leakage.data.download import download, sha256_of
from leakage.data.standins.adult import settings, write_adult
from leakage.data.standins.marker import MARKER, read_marker
from leakage.errors import LeakageError, nearest
from leakage.population import Population, split_by_unit
from leakage.randomness import torch_generator

logger = logging.getLogger("leakage.data")

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
SHA256 = {
    "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}
SHARES = {
    "train": 0.4,
    "validation": 0.1,
    "shadow_fit": 0.2,
    "shadow_calibrate": 0.1,
    "challenge": 0.2,
}
"""Shares of the units of adult.data; adult.test is the test split."""


class Adult(LightningDataModule):
    """Reader, splits and loaders of UCI Adult; an item is (x float32 (d,), y int64), y 1 above 50K.

    The test split is adult.test; adult.data is divided by `SHARES`. Records that are equal in
    all 15 fields are one unit, and those of adult.test that adult.data holds too play no part.

    Args:
        root: folder of adult.data and adult.test.
        standin: write made-up files to the root where it has none.
        standin_size: rows of the made-up adult.data, at least 1; adult.test gets half as many.
        standin_seed: of the generator of made-up files.
        download: fetch the official files to the root where it has none.
        download_url: folder that the files are fetched from.
        exclude: columns left out of x, by their official names such as `marital-status`.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.

    Raises:
        LeakageError: an excluded column is unknown, or none is left.
    """

    classes = 2

    def __init__(
        self,
        root: str = "data/adult",
        standin: bool = False,
        standin_size: int = 32561,
        standin_seed: int = 0,
        download: bool = False,
        download_url: str = URL,
        exclude: list[str] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.standin = standin
        self.standin_size = standin_size
        self.standin_seed = standin_seed
        self.download = download
        self.download_url = download_url
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        for key, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise LeakageError(f"data.{key}: at least {least} is needed, got {value}")
        for name in exclude or ():
            if name not in COLUMNS:
                raise LeakageError(
                    f"data.exclude: Adult has no column {name!r}; {nearest(name, COLUMNS)}"
                )
        self.widths = block_widths(exclude or ())
        if not self.widths:
            raise LeakageError(
                "data.exclude: found every column of Adult, at least one must be left for x"
            )
        self._population: Population | None = None

    @property
    def in_features(self) -> int:
        """The number of columns of x."""
        return sum(self.widths.values())

    @property
    def population(self) -> Population:
        """The records and their parts, known after `setup`."""
        if self._population is None:
            raise LeakageError("Adult.population is known after prepare_data() and setup() only")
        return self._population

    @override
    def prepare_data(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise LeakageError(f"data.root: {self.root} is a file, a folder is needed")
        marker = read_marker(self.root)
        present = [name for name in SHA256 if (self.root / name).exists()]
        if marker is not None and self.standin:
            wanted = settings(self.standin_size, self.standin_seed)
            if marker["settings"] != wanted or len(present) < len(SHA256):
                logger.info("%s: writing the stand-in again, as %s", self.root, wanted)
                write_adult(self.root, size=self.standin_size, seed=self.standin_seed)
        elif marker is None and not present and self.standin:
            write_adult(self.root, size=self.standin_size, seed=self.standin_seed)
        # A download that ended between the two files goes on with the second one.
        elif marker is None and self.download and all(map(self._is_official, present)):
            for name in SHA256.keys() - present:
                download(f"{self.download_url.rstrip('/')}/{name}", self.root / name, SHA256[name])
        self._check_files(marker_found=marker is not None)

    def _is_official(self, name: str) -> bool:
        return sha256_of(self.root / name) == SHA256[name]

    def _check_files(self, marker_found: bool) -> None:
        """Refuses a folder without both files, with the ways out."""
        missing = [name for name in SHA256 if not (self.root / name).is_file()]
        if not missing:
            return
        if marker_found:
            raise LeakageError(
                f"{self.root}: the stand-in was interrupted and lacks {' and '.join(missing)}; set"
                f" data.standin=true to write it again, or delete {MARKER} and put the official"
                " files there"
            )
        if len(missing) == len(SHA256):
            raise LeakageError(
                f"{self.root}: found neither adult.data nor adult.test; point data.root at the"
                " folder of the official files, set data.download=true to fetch them, or set"
                " data.standin=true to work with made-up records"
            )
        raise LeakageError(
            f"{self.root / missing[0]}: the file is missing while the other one of Adult is there;"
            " put it beside it, or point data.root at an empty folder"
        )

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._population is not None:
            return
        standin = read_marker(self.root) is not None
        self._check_files(marker_found=standin)
        data, test = (read_rows(self.root / name) for name in SHA256)
        table = np.concatenate([data, test])
        _, first, copy_of = np.unique(table, axis=0, return_index=True, return_inverse=True)
        units = torch.from_numpy(first[copy_of])  # the first record with the same 15 fields
        generator = torch_generator(self.seed, "adult", "splits")
        splits = split_by_unit(units[: len(data)], SHARES, generator)
        tested = torch.arange(len(data), len(table))
        splits["test"] = tested[~torch.isin(units[tested], units[: len(data)])]
        x = torch.from_numpy(encode(table, self.widths, splits["train"].numpy()))
        y = torch.from_numpy(table[:, -1].astype(np.int64))
        self._population = Population(
            name="Adult",
            records=TensorDataset(x, y),
            labels=y,
            features=x,
            traits=make_traits(table, self.widths),
            units=units,
            splits=splits,
            standin=standin,
        )
        logger.info(
            "Adult in %s, %s: %s records; %d of adult.test left out as copies of records of"
            " adult.data",
            self.root,
            "a stand-in (made-up records)" if standin else "real records",
            ", ".join(f"{name} {len(indices)}" for name, indices in splits.items()),
            len(tested) - len(splits["test"]),
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
