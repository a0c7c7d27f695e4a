"""What the columns of x mean: which entries a record can have, and how they read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from leakage.errors import LeakageError, nearest

_CLOSE = 1e-4


class Field(ABC):
    """One column of the original table, which takes w columns of x.

    Attributes:
        name: the column in the table.
        columns: those of x, in the order of a block (w,).
    """

    name: str
    columns: tuple[int, ...]

    @abstractmethod
    def project(self, blocks: Tensor) -> Tensor:
        """The nearest entries that a record can have, of each row (n, w): float32 (n, w)."""

    @abstractmethod
    def read(self, block: Tensor) -> str:
        """What the entries (w,) nearest to these say."""

    @abstractmethod
    def write(self, value: str | float) -> Tensor | None:
        """The entries (w,) that say a value; None where the field has no such value."""

    @abstractmethod
    def wrong(self, block: Tensor) -> str | None:
        """Why no record has the entries (w,), in words that begin with the name; or None."""

    @abstractmethod
    def grid(self, blocks: Tensor) -> Tensor:
        """Entries (m, w) worth a try in place of those of a row (1, w)."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The values that there are, in words."""


@dataclass(frozen=True, eq=False)
class Category(Field):
    """A column with finitely many values.

    Args:
        name: the column in the table.
        columns: those of x, w of them.
        values: the names of the m values.
        levels: the entries of x that stand for each, one-hot or any others, float32 (m, w).
    """

    name: str
    columns: tuple[int, ...]
    values: tuple[str, ...]
    levels: Tensor

    @override
    def project(self, blocks: Tensor) -> Tensor:
        return self.levels[self.codes(blocks)]

    @override
    def read(self, block: Tensor) -> str:
        return self.values[int(self.codes(block.unsqueeze(0)))]

    @override
    def write(self, value: str | float) -> Tensor | None:
        text = f"{value:.9g}" if isinstance(value, int | float) else value
        return self.levels[self.values.index(text)] if text in self.values else None

    @override
    def wrong(self, block: Tensor) -> str | None:
        level = self.project(block.unsqueeze(0))[0]
        if torch.allclose(block.float(), level, rtol=_CLOSE, atol=_CLOSE):
            return None
        marked = int((block == 1).sum())
        if _are_one_hot(self.levels) and marked != 1 and ((block == 0) | (block == 1)).all():
            return f"{self.name}: {marked} categories at once"
        found = ", ".join(f"{entry:.4g}" for entry in block.tolist())
        return f"{self.name}: ({found}) stands for none of its {len(self.values)} values"

    @override
    def grid(self, blocks: Tensor) -> Tensor:
        return self.levels

    @property
    @override
    def allowed(self) -> str:
        return f"one of {', '.join(self.values)}"

    def codes(self, blocks: Tensor) -> Tensor:
        """The position of the nearest value of each row (n, w), the first of equals: (n,)."""
        apart = blocks.detach().double().unsqueeze(1) - self.levels.double()  # (n, m, w)
        return apart.square().sum(2).argmin(1)


@dataclass(frozen=True)
class Number(Field):
    """A number: in its own unit it is x * scale + shift, or exp(x * scale + shift) - 1.

    Args:
        name: the column in the table.
        columns: the one of x.
        low: the least value, in its own unit.
        high: the greatest value, in its own unit.
        shift: where x is standardised, the mean.
        scale: where x is standardised, the standard deviation, above 0.
        whole: whether it is a whole number.
        log: whether x holds log(1 + number), before it is standardised.
    """

    name: str
    columns: tuple[int, ...]
    low: float
    high: float
    shift: float = 0.0
    scale: float = 1.0
    whole: bool = False
    log: bool = False

    def own(self, x: Tensor) -> Tensor:
        """In its own unit, float64."""
        found = x.detach().double() * self.scale + self.shift
        return found.expm1() if self.log else found

    def of(self, own: Tensor) -> Tensor:
        """Entries of x from values in its own unit, float32."""
        own = own.double()
        return (((own.log1p() if self.log else own) - self.shift) / self.scale).float()

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest entry of x."""
        low, high = self.of(torch.tensor([self.low, self.high])).tolist()
        return low, high

    @override
    def project(self, blocks: Tensor) -> Tensor:
        own = self.own(blocks)
        return self.of((own.round() if self.whole else own).clamp(self.low, self.high))

    @override
    def read(self, block: Tensor) -> str:
        return self._told(float(self.own(self.project(block))))

    @override
    def write(self, value: str | float) -> Tensor | None:
        try:
            found = float(value)
        except ValueError:
            return None
        whole = not self.whole or found.is_integer()
        return self.of(torch.tensor([found])) if whole and self.low <= found <= self.high else None

    @override
    def wrong(self, block: Tensor) -> str | None:
        found, entry = float(self.own(block)), float(block)
        # What float32 can tell apart, in its own unit.
        close = _CLOSE + 2 * torch.finfo(torch.float32).eps * (abs(entry) * self.scale + 1)
        close *= 1 + abs(found) if self.log else 1
        if not math.isfinite(found):
            return f"{self.name} = {found} is not a finite number"
        if found < self.low - close:
            return f"{self.name} = {self._told(found)} is below {self._told(self.low)}"
        if found > self.high + close:
            return f"{self.name} = {self._told(found)} is above {self._told(self.high)}"
        if self.whole and abs(found - round(found)) > min(close, 0.49):
            return f"{self.name} = {found:.9g} is not a whole number"
        return None

    @override
    def grid(self, blocks: Tensor) -> Tensor:
        low, high = self.span
        steps = (high - low) * torch.tensor([-0.1, -0.02, 0.02, 0.1])
        coarse = torch.linspace(low, high, 9)
        tried = self.project(torch.cat([coarse, blocks[0] + steps]).unsqueeze(1))
        distinct: Tensor = tried.unique(dim=0)
        return distinct

    @property
    @override
    def allowed(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self._told(self.low)} to {self._told(self.high)}"

    def _told(self, own: float) -> str:
        return str(round(own)) if self.whole else f"{own:.6g}"


def project(fields: Sequence[Field], x: Tensor) -> Tensor:
    """The nearest valid record of each row of x (n, d); other columns stay: float32 (n, d)."""
    out = x.detach().clone().float()
    for field in fields:
        out[:, list(field.columns)] = field.project(out[:, list(field.columns)])
    return out


def read(fields: Sequence[Field], x: Tensor) -> dict[str, str]:
    """What a record x (d,) says, by field: {"age": "39", "workclass": "Private", ...}."""
    return {field.name: field.read(x[list(field.columns)]) for field in fields}


def why_invalid(fields: Sequence[Field], x: Tensor) -> str | None:
    """What is wrong with a record x (d,), in words; None where it is valid."""
    found = (field.wrong(x[list(field.columns)]) for field in fields)
    return next((words for words in found if words is not None), None)


def write(
    fields: Sequence[Field], values: Mapping[str, str | float], x: Tensor, key: str
) -> Tensor:
    """The record x (d,) with the fields that `values` names.

    Raises:
        LeakageError: an unknown field, or a value that it cannot have; `key` is the config key.
    """
    known = {field.name: field for field in fields}
    out = x.detach().clone()
    for name, value in values.items():
        if name not in known:
            raise LeakageError(f"{key}: a record has no field {name!r}; {nearest(name, known)}")
        block = known[name].write(value)
        if block is None:
            raise LeakageError(f"{key}: the field {name} is {known[name].allowed}, got {value!r}")
        out[list(known[name].columns)] = block.to(out.dtype)
    return out


def _are_one_hot(levels: Tensor) -> bool:
    ones = (levels == 1).sum(1) == 1
    return bool(ones.all() and ((levels == 0) | (levels == 1)).all())
