"""The official lists of CelebA (Liu et al. 2015): attributes, identities, partitions."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from leakage.data.files import text_of
from leakage.data.module import some
from leakage.errors import LeakageError

IMAGES = "img_align_celeba"
LISTS = ATTRIBUTE_LIST, IDENTITY_LIST, PARTITION_LIST = (
    "list_attr_celeba.txt",
    "identity_CelebA.txt",
    "list_eval_partition.txt",
)
LIST_FOLDERS, IMAGE_FOLDERS = ("", "Anno", "Eval"), (IMAGES, "", "Img")
"""Where they may lie under the root: in the root, or as on the authors' drive; the images also in
a folder in a folder of the same name, as some archives unpack."""
# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup",
    "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns",
    "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)
# fmt: on
TRAIN, VALIDATION, TEST = PARTITIONS = range(3)

_NAME = re.compile(r"[0-9]{6}\.jpg")
_HEADERS = ("image", "image_id")
"""What the first column is called, where a list has a header."""
_ANY = range(1, 10**9)

logger = logging.getLogger("leakage.data")


@dataclass(frozen=True)
class Faces:
    """What the lists say of the images in a folder, one row each, in the order of the attributes.

    Args:
        names: of the files, n of them.
        attributes: whether an image has each of `ATTRIBUTES`, bool (n, 40).
        identities: whose face it is, int64 (n,).
        partitions: one of `PARTITIONS`, int64 (n,).
        male: share of the images of this identity with the attribute Male, those that are not in
            the folder among them, float64 (n,).
        listed: the names of all images that have a row of attributes.
    """

    names: list[str]
    attributes: NDArray[np.bool_]
    identities: NDArray[np.int64]
    partitions: NDArray[np.int64]
    male: NDArray[np.float64]
    listed: set[str]


@dataclass(frozen=True)
class _List:
    """The rows of a list by the name of the image, and in which line of the file each is."""

    path: Path
    table: pd.DataFrame
    line: NDArray[np.int64]


def find(root: Path, name: str) -> Path | None:
    """The folder of images or an official list, of which a copy may end in .csv."""
    if name == IMAGES:
        places = [root / folder / IMAGES for folder in IMAGE_FOLDERS]
        return next(filter(Path.is_dir, places), None)
    names = (name, f"{Path(name).stem}.csv")
    return next(filter(Path.is_file, (root / f / n for f in LIST_FOLDERS for n in names)), None)


def read_lists(root: Path, present: set[str]) -> Faces:
    """Reads and checks the three lists.

    Args:
        root: their folder, which has each of them.
        present: the names in the folder of images.

    Raises:
        LeakageError: by file, row (the first line is 1) and column, what is wrong.
    """
    attributes = _read_attributes(_found(root, ATTRIBUTE_LIST))
    identities = _read_numbers(_found(root, IDENTITY_LIST), "identity", _ANY)
    partitions = _read_numbers(_found(root, PARTITION_LIST), "partition", PARTITIONS)
    names = attributes.table.index
    here = names.isin(present)
    columns = []
    for other in (identities, partitions):
        column = other.table.iloc[:, 0].reindex(names, fill_value=-1).to_numpy(np.int64)
        lacking = here & (column < 0)
        if lacking.any():
            first = int(lacking.argmax())
            raise LeakageError(
                f"{attributes.path}, row {attributes.line[first]}: found {names[first]}, which has"
                f" no row in {other.path} ({lacking.sum():,} such images); take the official files"
            )
        columns.append(column)
    identity, partition = columns
    _check_partitions(partitions, names[here], identity[here], partition[here])
    table = attributes.table.to_numpy()
    male = pd.Series(table[:, ATTRIBUTES.index("Male")].astype(float)).groupby(identity)
    return Faces(
        names=names[here].tolist(),
        attributes=table[here],
        identities=identity[here],
        partitions=partition[here],
        male=male.transform("mean").to_numpy()[here],
        listed=set(names),
    )


def _found(root: Path, name: str) -> Path:
    path = find(root, name)
    if path is None:
        raise LeakageError(f"{root / name}: it is missing")
    return path


def _check_partitions(
    source: _List,
    names: pd.Index[str],
    identity: NDArray[np.int64],
    partition: NDArray[np.int64],
) -> None:
    """Refuses an identity in two partitions: what is learned of it would be tested on it."""
    table = pd.DataFrame({"partition": partition, "image": names, "identity": identity})
    by = table.groupby("identity", sort=False)
    differs = (table["partition"] != by["partition"].transform("first")).to_numpy()
    if not differs.any():
        return
    first = int(differs.argmax())
    other = by["image"].transform("first")[first]
    row = source.line[source.table.index.get_loc(names[first])]
    raise LeakageError(
        f"{source.path}, row {row}: found {names[first]} in the partition {partition[first]} and"
        f" {other} of the same identity {identity[first]} in another"
        f" ({len(np.unique(identity[differs])):,} such identities); expected each identity in one"
        " partition, as in the official file"
    )


def _read_attributes(path: Path) -> _List:
    """The table of `ATTRIBUTES`, bool."""
    lines = _read_lines(path)
    told, columns = lines[0][1].strip(), _fields(path, lines[0][1])
    if told.isdecimal():
        lines = lines[1:]
        columns = _fields(path, lines[0][1]) if lines else []
    names = [name for name in columns if name not in _HEADERS]
    row = lines[0][0] if lines else 2
    if missing := [name for name in ATTRIBUTES if name not in names]:
        raise LeakageError(
            f"{path}, row {row}: found no attribute {some(missing, 'or')}; expected the names of"
            f" the {len(ATTRIBUTES)} attributes of CelebA"
        )
    if len(names) > len(ATTRIBUTES):
        extra = next(n for i, n in enumerate(names) if n not in ATTRIBUTES or n in names[:i])
        raise LeakageError(
            f"{path}, row {row}: found the attribute {extra!r} too many; expected the names of the"
            f" {len(ATTRIBUTES)} attributes of CelebA"
        )
    found = _read_rows(path, lines[1:], names)
    if told.isdecimal() and int(told) != len(found.line):
        logger.warning(
            "%s, row 1: found the number %s, while %d rows of images follow; all of these are read",
            path, told, len(found.line),
        )  # fmt: skip
    _check_values(found, range(-1, 2))
    return _List(path, found.table[list(ATTRIBUTES)] == 1, found.line)


def _read_numbers(path: Path, column: str, allowed: range) -> _List:
    """The table with one column of numbers."""
    lines = _read_lines(path)
    if _fields(path, lines[0][1])[0] in _HEADERS:
        lines = lines[1:]
    found = _read_rows(path, lines, [column])
    _check_values(found, allowed)
    return found


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, by their number."""
    text = text_of(path, "a list of the images of CelebA")
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise LeakageError(f"{path}: found an empty file, expected a list of the images of CelebA")
    return lines


def _fields(path: Path, line: str) -> list[str]:
    return [*map(str.strip, line.split(","))] if path.suffix == ".csv" else line.split()


def _read_rows(path: Path, lines: Sequence[tuple[int, str]], columns: Sequence[str]) -> _List:
    """The rows behind the header, not yet checked but for the names and the number of fields."""
    csv_copy = path.suffix == ".csv"
    for n, line in lines:
        count = line.count(",") if csv_copy else len(line.split()) - 1
        if count != len(columns):
            raise LeakageError(
                f"{path}, row {n}: found {count} values behind the name of the image, expected"
                f" {len(columns)}"
            )
    if not lines:
        raise LeakageError(f"{path}: found no row of an image")
    table = pd.read_csv(
        io.StringIO("\n".join([line.strip() for _, line in lines])),
        sep="," if csv_copy else r"\s+",
        skipinitialspace=True,
        header=None,
        names=["image", *columns],
        index_col="image",
        dtype={"image": object},
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        low_memory=False,
    )
    numbers = np.array([n for n, _ in lines])
    names: list[str] = table.index.tolist()
    bad = next((i for i, name in enumerate(names) if not _NAME.fullmatch(name)), None)
    if bad is not None:
        raise LeakageError(
            f"{path}, row {numbers[bad]}: found the name {names[bad]!r}, expected six digits"
            " and .jpg, such as 000001.jpg"
        )
    again = table.index.duplicated()
    if again.any():
        name = names[int(again.argmax())]
        raise LeakageError(
            f"{path}, row {numbers[again.argmax()]}: found {name} again, which is in row"
            f" {numbers[names.index(name)]} too; expected one row an image"
        )
    return _List(path, table, numbers)


def _check_values(found: _List, allowed: range) -> None:
    """Refuses the first value of a column that is no whole number in the range."""
    for name, column in found.table.items():
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
        good = (numbers == np.floor(numbers)) & (numbers >= allowed[0]) & (numbers <= allowed[-1])
        if not good.all():
            first = int(good.argmin())
            raise LeakageError(
                f"{found.path}, row {found.line[first]}, column {name}: found"
                f" {str(column.iloc[first])!r}, expected a whole number from {allowed[0]} to"
                f" {allowed[-1]}"
            )
