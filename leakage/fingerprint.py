"""What tells a population from another: its splits, and what its records are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_AT_ONCE = 1 << 14  # records, which bounds the memory beside the features
_PROBES = 8
_ROUNDING = 1e-6  # of the length of a sketch


def digest_of(parts: Iterable[Tensor | str]) -> str:
    """16 hexadecimal digits that change with any number or word, and with their order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.contiguous().numpy().tobytes()
        digest.update(data + b"|")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Sketch:
    """A few random sums over the features of records, which change with any of them.

    Features are decoded and scaled by arithmetic whose last bits differ between processors, so
    that a digest would too. These sums move by some 1e-7 of their length if all features are
    rounded otherwise; what one feature of one of N records of d columns moves them by is seen from
    about 1e-6 sqrt(N d) of the scale of the features on.

    Args:
        sums: one for each of a few random directions.
    """

    sums: tuple[float, ...]

    @staticmethod
    def of(features: Tensor, records: Tensor) -> Sketch:
        """That of these records, int64, of features (N, d), of which NaN counts as zero."""
        generator = torch.Generator().manual_seed(0)
        sums = torch.zeros(_PROBES, dtype=torch.float64)
        weights = torch.randn(features.shape[1], _PROBES, generator=generator)
        for some in records.split(_AT_ONCE):
            signs = torch.randn(len(some), _PROBES, generator=generator)
            sums += (signs * (features[some].nan_to_num() @ weights)).sum(0, dtype=torch.float64)
        return Sketch(tuple(sums.tolist()))

    def __str__(self) -> str:
        return " ".join(f"{number:.12e}" for number in self.sums)

    @staticmethod
    def read(text: str) -> Sketch:
        """What `str` has written."""
        return Sketch(tuple(map(float, text.split())))

    def is_like(self, other: Sketch) -> bool:
        """Whether both may be of the same records."""
        one, two = torch.tensor(self.sums), torch.tensor(other.sums)
        return len(one) == len(two) and bool((one - two).norm() <= _ROUNDING * two.norm())
