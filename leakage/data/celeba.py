"""CelebA (Liu et al. 2015): does the face in a photograph smile, or have another attribute."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from leakage.data.celeba_files import (
    ATTRIBUTES,
    IMAGES,
    LISTS,
    TEST,
    TRAIN,
    VALIDATION,
    Faces,
    find,
    read_lists,
)
from leakage.data.decoded import decode
from leakage.data.images import (
    SUFFIXES,
    ImageRecords,
    Picture,
    check_size,
    duplicates,
    thumbnails,
)
from leakage.data.module import ALL_SHARES, SHARES, FolderData, check_units
from leakage.data.standins.celeba import CELEBA
from leakage.data.traits import make_trait
from leakage.data.unreadable import Unreadable, check_max_unreadable
from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait, split_by_unit
from leakage.randomness import torch_generator

logger = logging.getLogger("leakage.data")

OFFICIAL_SIZE = (178, 218)
"""Width and height of an aligned image, in pixels."""
SEX = "Male"
VALUES = ("no", "yes")


class CelebA(FolderData):
    """Reader, splits and loaders of CelebA; x is a picture (3, size, size) in [-1, 1], y 0 or 1.

    y tells whether an image has the target, and the other attributes are traits. The unit is the
    identity. Male is a trait of an identity: what most of its images in the list say, unknown
    where they are equally many. The partitions 1 and 2 are the validation and the test split,
    and partition 0 is divided by `SHARES` but validation. Of a partition without an image, as in
    a folder of the first few thousand, partition 0 gives a share too. Of files with the same
    bytes the first alone is read. A part of the images is enough, beside the three lists; these
    may be the official ones or copies that end in .csv.

    Args:
        root: folder of img_align_celeba, list_attr_celeba.txt, identity_CelebA.txt and
            list_eval_partition.txt.
        standin: write made-up files to the root where it has none.
        standin_size: images of the made-up set.
        standin_seed: of the generator of made-up files.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.
        max_unreadable: the share of the images that may be none or have no row in the lists, 0..1.
        target: the attribute that y tells, by its official name.
        size: pixels along either side of x, 8 to 512.

    Raises:
        LeakageError: a setting is out of its range.
    """

    classes = 2
    made_up = CELEBA

    def __init__(
        self,
        root: str = "data/celeba",
        standin: bool = False,
        standin_size: int = 4000,
        standin_seed: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        max_unreadable: float = 0.01,
        target: str = "Smiling",
        size: int = 64,
    ) -> None:
        super().__init__(root, standin, standin_size, standin_seed, batch_size, seed, num_workers)
        check_max_unreadable(max_unreadable)
        check_size(size)
        if target not in ATTRIBUTES:
            raise LeakageError(
                f"data.target: CelebA has no attribute {target!r}; {nearest(target, ATTRIBUTES)}"
            )
        self.max_unreadable = max_unreadable
        self.target = target
        self.picture = Picture(size, OFFICIAL_SIZE)

    @property
    @override
    def official(self) -> tuple[str, ...]:
        return (IMAGES, *LISTS)

    @override
    def holds(self, name: str) -> bool:
        return find(self.root, name) is not None

    @override
    def read(self, standin: bool) -> Population:
        folder = find(self.root, IMAGES)
        if folder is None:
            raise LeakageError(f"{self.root / IMAGES}: found no folder of images")
        present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        faces = read_lists(self.root, present)
        self._tell_absent(folder, faces)
        unreadable = Unreadable(folder, "images")
        for name in sorted(present - faces.listed):
            if Path(name).suffix.lower() in SUFFIXES:
                unreadable.add(name, "no row in the list of attributes")
        total = len(faces.names) + len(unreadable)
        files = [folder / name for name in faces.names]
        decoded = decode(files, self.picture, self.root, unreadable)
        unreadable.settle(total, self.max_unreadable)
        position = decoded.position
        copies = [
            copy
            for group in duplicates([files[i] for i in position.tolist()], self.root, unreadable)
            for copy in group[1:]
        ]
        if copies:
            logger.info(
                "%s: %d of %d images left out: byte-identical copies of others (the first: %s)",
                folder, len(copies), total, files[position[min(copies)]].name,
            )  # fmt: skip
        rows = torch.arange(len(position))
        rows = rows[~torch.isin(rows, torch.tensor(copies, dtype=torch.int64))]
        kept = position[rows]
        has = torch.from_numpy(faces.attributes)[kept]  # (N, 40)
        labels = has[:, ATTRIBUTES.index(self.target)].long()
        units = torch.from_numpy(faces.identities)[kept]
        splits = self._splits(folder, units, torch.from_numpy(faces.partitions)[kept])
        return Population(
            name="CelebA",
            records=ImageRecords(decoded.x, rows, labels),
            labels=labels,
            features=thumbnails(decoded.x, rows),
            traits=self._traits(has, torch.from_numpy(faces.male)[kept], units),
            units=units,
            splits=splits,
            standin=standin,
        )

    def _tell_absent(self, folder: Path, faces: Faces) -> None:
        absent, listed = len(faces.listed) - len(faces.names), len(faces.listed)
        if not faces.names:
            raise LeakageError(
                f"{folder}: found none of the {listed:,} images that the list of attributes names;"
                f" unpack {IMAGES}.zip, so that {folder} has images such as 000001.jpg"
            )
        if absent:
            logger.info("%s: %s of %s images are absent", folder, f"{absent:,}", f"{listed:,}")

    def _traits(self, has: Tensor, male: Tensor, units: Tensor) -> dict[str, Trait]:
        """Each attribute but the target, no part of x."""
        traits = {
            name: make_trait(name, VALUES, codes)
            for name, codes in zip(ATTRIBUTES, has.long().T, strict=True)
            if name != self.target
        }
        if SEX in traits:
            majority = torch.where(male == 0.5, -1, (male > 0.5).long())
            changed = majority != has[:, ATTRIBUTES.index(SEX)]
            logger.info(
                "%s of an identity is what most of its images say: changed in %d images of %d"
                " identities, %d of these images unknown as equally many say either",
                SEX, int(changed.sum()), len(units[changed].unique()), int((majority < 0).sum()),
            )  # fmt: skip
            traits[SEX] = make_trait(SEX, VALUES, majority)
        return traits

    def _splits(self, folder: Path, units: Tensor, partitions: Tensor) -> dict[str, Tensor]:
        """The official validation and test splits, and the shares of partition 0."""
        given = {
            name: (partitions == partition).nonzero().flatten()
            for name, partition in (("validation", VALIDATION), ("test", TEST))
        }
        given = {name: indices for name, indices in given.items() if len(indices)}
        shares = {
            name: share
            for name, share in (SHARES if "test" in given else ALL_SHARES).items()
            if name not in given
        }
        whole = sum(shares.values())
        shares = {name: share / whole for name, share in shares.items()}
        for name in ("validation", "test"):
            if name not in given:
                logger.info(
                    "%s: no image of the official %s split, partition 0 gives one", folder, name
                )
        own = (partitions == TRAIN).nonzero().flatten()
        check_units(folder, len(units[own].unique()), "identities of partition 0", shares)
        generator = torch_generator(self.seed, "celeba", "splits")
        parts = split_by_unit(units[own], shares, generator)
        return {name: own[indices] for name, indices in parts.items()} | given
