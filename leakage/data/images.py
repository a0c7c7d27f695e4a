"""Image files as small pictures of one size, and what the data sets of images share."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from typing_extensions import override

from leakage.data.decoded import Decoder, decode
from leakage.data.files import content_of
from leakage.data.unreadable import Unreadable, UnreadableError
from leakage.errors import LeakageError

SUFFIXES = (".jpg", ".jpeg", ".png")
SMALLEST, LARGEST = 8, 512
"""Pixels along a side of a picture; a thumbnail has the smallest."""
_AT_ONCE = 512
_LONGEST = 10
"""Times the shorter side; of a longer image the middle square is no picture of anything."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, NotImplementedError, RuntimeError)
"""What PIL raises of broken files."""


@dataclass(frozen=True)
class Picture(Decoder):
    """The middle square of an image in red, green and blue, uint8 (3, size, size).

    The shorter side is brought to `size` by antialiased bilinear interpolation, and the longer
    one cropped alike at both ends. Transparency and the orientation in EXIF play no part.

    Args:
        size: pixels along either side.
        official: width and height of the official images; one of another size is remarked.
    """

    size: int = 64
    official: tuple[int, int] | None = None

    @override
    def decode(self, path: Path) -> tuple[Tensor, str]:
        image = _open(path)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, height, width)
        remark = ""
        if self.official is not None and image.size != self.official:
            remark = "are not of the official size, {} x {} pixels".format(*self.official)
        return self._square(pixels).contiguous(), remark

    @cached_property
    def _square(self) -> v2.Compose:
        return v2.Compose([v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)])


@dataclass(frozen=True)
class Digest(Decoder):
    """What tells files of other content apart, uint8 (16,)."""

    @override
    def decode(self, path: Path) -> tuple[Tensor, str]:
        digest = hashlib.blake2b(content_of(path, "image"), digest_size=16).digest()
        return torch.tensor(list(digest), dtype=torch.uint8), ""


class ImageRecords(Dataset[tuple[Tensor, Tensor]]):
    """Pictures as items (x float32 (3, s, s) in [-1, 1], y int64), made when they are asked for.

    Args:
        pictures: of all files, uint8 (m, 3, s, s), which may be mapped from a file.
        rows: those of the N records, int64 (N,).
        labels: of the records, int64 (N,).
    """

    def __init__(self, pictures: Tensor, rows: Tensor, labels: Tensor) -> None:
        self._pictures, self._rows, self._labels = pictures, rows, labels

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return _scaled(self._pictures[self._rows[index]]), self._labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """The items of a batch, in about half the time that they take one by one."""
        x = _scaled(self._pictures.index_select(0, self._rows[indices]))
        return list(zip(x, self._labels[indices], strict=True))


def _scaled(pictures: Tensor) -> Tensor:
    """Bytes 0..255 as float32 in [-1, 1]."""
    return pictures.float().sub_(127.5).div_(127.5)


def thumbnails(pictures: Tensor, rows: Tensor) -> Tensor:
    """Means of 8 x 8 fields of x, float32 (N, 192): red row by row, then green, then blue."""
    made = [torch.empty(0, 3 * SMALLEST**2)]
    for some in rows.split(_AT_ONCE):  # bounds the memory beside the pictures
        fields = torch.nn.functional.adaptive_avg_pool2d(
            _scaled(pictures.index_select(0, some)), SMALLEST
        )
        made.append(fields.flatten(1))
    return torch.cat(made)


def duplicates(files: Sequence[Path], root: Path, unreadable: Unreadable) -> list[list[int]]:
    """Positions of the files with the very same bytes, a group of two or more each, ascending.

    Args:
        files: readable ones. Of those that have a size of their own only the size is looked at.
        root: the folder of the data set, which keeps the digests of the others.
        unreadable: of the data set.
    """
    sizes = np.array([file.stat().st_size for file in files], dtype=np.int64)
    _, size, count = np.unique(sizes, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(count[size] > 1).tolist()
    if not alike:
        return []
    digests = decode([files[i] for i in alike], Digest(), root, unreadable).x.numpy()
    groups: dict[bytes, list[int]] = {}
    for i, digest in zip(alike, digests, strict=True):
        groups.setdefault(digest.tobytes(), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def check_size(size: int) -> None:
    """Refuses a setting that is no size of a picture."""
    if not SMALLEST <= size <= LARGEST:
        raise LeakageError(f"data.size: {SMALLEST} to {LARGEST} pixels, got {size}")


def _open(path: Path) -> Image.Image:
    """The image in a file, in red, green and blue of 8 bits each."""
    content = content_of(path, "image")
    try:
        image = Image.open(io.BytesIO(content))
    except (*_BROKEN, Image.DecompressionBombError):
        raise UnreadableError("no image") from None
    if max(image.size) > _LONGEST * min(image.size):
        raise UnreadableError(f"an image whose one side is over {_LONGEST} times the other")
    if image.mode.startswith(("I", "F")):  # PIL would cut them off at 255
        raise UnreadableError("more than 8 bits a color, save it with 8")
    try:
        return image.convert("RGB")
    except _BROKEN:
        raise UnreadableError("an image that is cut short or damaged, get it again") from None
