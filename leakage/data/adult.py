"""UCI Adult (Becker & Kohavi 1996): does a person of the 1994 US census earn above 50K a year."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from typing_extensions import override

from leakage.data.adult_files import (
    FILES,
    WIDTHS,
    check_shadow_root,
    encode,
    make_fields,
    make_traits,
    read_rows,
)
from leakage.data.blocks import kept_blocks
from leakage.data.download import download, sha256_of
from leakage.data.module import SHARES, FolderData
from leakage.data.standins.adult import ADULT
from leakage.data.standins.marker import read_marker
from leakage.errors import LeakageError
from leakage.origin import origin
from leakage.population import Population, split_by_unit
from leakage.randomness import torch_generator

logger = logging.getLogger("leakage.data")

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
SHA256 = {
    "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}
SHADOW_SHARES = {"shadow_fit": 2 / 3, "shadow_calibrate": 1 / 3}
"""Shares of the units of the adversary's own files, where it has some."""


class Adult(FolderData):
    """Reader, splits and loaders of UCI Adult; an item is (x float32 (d,), y int64), y 1 above 50K.

    The test split is adult.test; adult.data is divided by `SHARES`. Records that are equal in
    all 15 fields are one unit, and those of adult.test that adult.data holds too play no part.

    With a `shadow_root` the shadow records are those in that folder, divided by `SHADOW_SHARES`,
    but for copies of records of the root, whose own shadow records then play no part. They stand
    behind the others, which stay as they are: the observer sees how the model standardises.

    Args:
        root: folder of adult.data and adult.test.
        shadow_root: folder of other people's adult.data, and of their adult.test if it is there.
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
    made_up = ADULT

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
        shadow_root: str | None = None,
    ) -> None:
        super().__init__(root, standin, standin_size, standin_seed, batch_size, seed, num_workers)
        self.shadow_root = None if shadow_root is None else Path(shadow_root)
        self.download = download
        self.download_url = download_url
        self.widths = kept_blocks(WIDTHS, exclude or (), "Adult", "Adult")

    @property
    def in_features(self) -> int:
        """The number of columns of x."""
        return sum(self.widths.values())

    @property
    @override
    def official(self) -> tuple[str, ...]:
        return FILES

    @override
    def ways_in(self) -> str:
        return f"{super().ways_in()}, set data.download=true to fetch them"

    @override
    def prepare_data(self) -> None:
        if self.shadow_root is not None:
            check_shadow_root(self.shadow_root, self.root)
        super().prepare_data()

    @override
    def fetch(self) -> None:
        present = [name for name in FILES if self.holds(name)]
        # A download that ended between the two files goes on with the second one.
        if self.download and all(map(self._is_official, present)):
            for name in SHA256.keys() - present:
                download(f"{self.download_url.rstrip('/')}/{name}", self.root / name, SHA256[name])

    def _is_official(self, name: str) -> bool:
        return sha256_of(self.root / name) == SHA256[name]

    @override
    def read(self, standin: bool) -> Population:
        files = [self.root / name for name in FILES]
        if self.shadow_root is not None:
            check_shadow_root(self.shadow_root, self.root)
            files += filter(Path.is_file, (self.shadow_root / name for name in FILES))
        tables = [read_rows(file) for file in files]
        data, own = len(tables[0]), len(tables[0]) + len(tables[1])
        table = np.concatenate(tables)
        _, first, copy_of = np.unique(table, axis=0, return_index=True, return_inverse=True)
        units = torch.from_numpy(first[copy_of])  # the first record with the same 15 fields
        splits = split_by_unit(units[:data], SHARES, torch_generator(self.seed, "adult", "splits"))
        tested = torch.arange(data, own)
        splits["test"] = tested[~torch.isin(units[tested], units[:data])]
        logger.info(
            "%d of adult.test left out as copies of records of adult.data",
            len(tested) - len(splits["test"]),
        )
        if self.shadow_root is not None:
            marker = read_marker(self.shadow_root)
            standin |= marker is not None
            logger.info("shadow records in %s (%s)", self.shadow_root, origin(marker is not None))
            splits |= self._shadow_splits(units, own)
        x = torch.from_numpy(encode(table, self.widths, splits["train"].numpy()))
        y = torch.from_numpy(table[:, -1].astype(np.int64))
        return Population(
            name="Adult",
            records=TensorDataset(x, y),
            labels=y,
            features=x,
            traits=make_traits(table, self.widths),
            units=units,
            splits=splits,
            standin=standin,
            fields=make_fields(table, self.widths, splits["train"].numpy(), x),
        )

    def _shadow_splits(self, units: Tensor, own: int) -> dict[str, Tensor]:
        """Divides the records behind the first `own`, but for copies of those."""
        behind = torch.arange(own, len(units))
        new = behind[units[behind] >= own]
        if len(units[new].unique()) < len(SHADOW_SHARES):
            raise LeakageError(
                f"data.shadow_root: {self.shadow_root}: found {len(new)} records that are not in"
                f" {self.root} too; at least {len(SHADOW_SHARES)} different ones are needed"
            )
        logger.info(
            "%d of the %d records in %s left out as copies of records in %s",
            len(behind) - len(new),
            len(behind),
            self.shadow_root,
            self.root,
        )
        generator = torch_generator(self.seed, "adult", "shadow splits")
        parts = split_by_unit(units[new], SHADOW_SHARES, generator)
        return {split: new[indices] for split, indices in parts.items()}
