"""One record per member and year of the Heritage Health Prize: claims, drugs, labs in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from leakage.data.blocks import spans_of
from leakage.data.health_files import AGES, CODES, MISSING, SEXES, YEARS, Table
from leakage.fields import Category, Field, Number

CLAIMS = "Claims"
"""The name of the block that is no column of the files: the number of claims."""
CATEGORIES = {"Year": YEARS, "Sex": SEXES, "AgeAtFirstClaim": AGES}
MAY_BE_UNKNOWN = ("Sex", "AgeAtFirstClaim")
WIDTHS = {
    **{name: len(values) + 1 for name, values in CODES.items()},
    CLAIMS: 1,
    "ProviderID": 1,
    "Vendor": 1,
    "PCP": 1,
    "PayDelay": 2,
    "LengthOfStay": 2,
    "DSFS": 1,
    "SupLOS": 1,
    "DrugCount": 3,
    "LabCount": 3,
    **{name: len(values) + (name in MAY_BE_UNKNOWN) for name, values in CATEGORIES.items()},
}
"""The columns of x by the official column that they come from, in the order of x."""

PARTS = {
    "PayDelay": ("mean", "maximum"),
    "LengthOfStay": ("total", "maximum"),
    "DrugCount": ("sum", "maximum", "months"),
    "LabCount": ("sum", "maximum", "months"),
}
"""The columns of the blocks with several."""
NO_LOGARITHM = ("PayDelay", "DSFS")
"""The blocks whose numbers are no counts."""
UNKNOWN = "?"

Block = NDArray[np.float32]


@dataclass(frozen=True)
class Records:
    """N records in the order of their members and years.

    Args:
        member: the position of the member in the table of members, (N,).
        label: 1 where a claim of the year has a Charlson index above 0, (N,).
        codes: of each of `CATEGORIES` the position of the value, -1 where it is unknown, (N,).
        blocks: the numbers of each block of `WIDTHS`, float32 (N, width), not yet standardised.
    """

    member: NDArray[np.int64]
    label: NDArray[np.int64]
    codes: dict[str, NDArray[np.int64]]
    blocks: dict[str, Block]


def make_records(claims: Table, members: Table, drugs: Table, labs: Table) -> Records:
    """Groups claims by member and year, and joins the rest to them.

    Args:
        claims: each of a member that `members` has.
        members: one row a member, in ascending order.
        drugs: rows of members and years without a claim play no part.
        labs: likewise.
    """
    keys, record = np.unique(_keys(claims, members), return_inverse=True)
    n = len(keys)
    member, year = np.divmod(keys, len(YEARS))
    codes = {
        "Year": year,
        "Sex": members["Sex"][member],
        "AgeAtFirstClaim": members["AgeAtFirstClaim"][member],
    }
    of_record = pd.Series(record)
    number = np.bincount(record, minlength=n)

    def highest(column: str) -> NDArray[np.int64]:
        """The largest value in each record; 0 where all are missing."""
        largest = pd.Series(claims[column]).groupby(of_record).max()
        return np.asarray(largest.clip(lower=0), dtype=np.int64)

    def total(column: str) -> NDArray[Any]:
        return np.bincount(record, np.maximum(claims[column], 0), minlength=n)

    blocks = {name: np.log1p(_count(claims[name], record, n, name)) for name in CODES}
    blocks[CLAIMS] = _columns(np.log1p(number))
    for name in ("ProviderID", "Vendor", "PCP"):
        blocks[name] = _columns(np.log1p(_distinct(claims[name], record, n)))
    blocks["PayDelay"] = _columns(total("PayDelay") / number, highest("PayDelay"))
    blocks["LengthOfStay"] = _columns(
        np.log1p(total("LengthOfStay")), np.log1p(highest("LengthOfStay"))
    )
    blocks["DSFS"] = _columns(highest("DSFS"))
    blocks["SupLOS"] = _columns(np.log1p(total("SupLOS")))
    for name, table in (("DrugCount", drugs), ("LabCount", labs)):
        blocks[name] = _monthly(table, name, _keys(table, members), keys)
    for name in CATEGORIES:
        # An unknown value has the code -1, which picks the last row: its own column.
        blocks[name] = np.eye(WIDTHS[name], dtype=np.float32)[codes[name]]
    label = (highest("CharlsonIndex") > 0).astype(np.int64)
    return Records(member, label, codes, {name: blocks[name] for name in WIDTHS})


def encode(records: Records, widths: dict[str, int], train: NDArray[np.int64]) -> Block:
    """Features x (N, d): counts of codes as log(1 + n), one-hot categories, numbers standardised.

    Args:
        records: N of them.
        widths: the blocks of x.
        train: the records whose mean and standard deviation the numbers get.
    """
    x = np.empty((len(records.label), sum(widths.values())), dtype=np.float32)
    start = 0
    for name, width in widths.items():
        block = records.blocks[name]
        if name not in CODES and name not in CATEGORIES:
            mean, spread = _standard(block[train])
            x[:, start : start + width] = (block - mean) / spread
        else:
            x[:, start : start + width] = block
        start += width
    return x


def make_fields(
    records: Records, widths: dict[str, int], train: NDArray[np.int64]
) -> tuple[Field, ...]:
    """What each column of x means by itself; the arguments are those of `encode`."""
    fields: list[Field] = []
    for name, span in spans_of(widths).items():
        block = records.blocks[name]
        if name in CATEGORIES:
            values = (*CATEGORIES[name], UNKNOWN)[: len(span)]
            fields.append(Category(name, tuple(span), values, torch.eye(len(span))))
            continue
        if name in CODES:
            mean, spread = np.zeros(len(span)), np.ones(len(span))
        else:
            mean, spread = _standard(block[train])
        for i, part in enumerate(_parts_of(name)):
            log, whole = name not in NO_LOGARITHM, part != "PayDelay: mean"
            ends = np.array([block[:, i].min(), block[:, i].max()], dtype=np.float64)
            low, high = (np.expm1(ends) if log else ends).tolist()
            if whole:
                low, high = round(low), round(high)
            shift, scale = float(mean[i]), float(spread[i])
            fields.append(Number(part, (span[i],), low, high, shift, scale, whole, log))
    return tuple(fields)


def _parts_of(name: str) -> tuple[str, ...]:
    """What each column of a block of numbers is called."""
    parts = (*CODES[name], UNKNOWN) if name in CODES else PARTS.get(name, ())
    return tuple(f"{name}: {part}" for part in parts) or (name,)


def _standard(block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and the standard deviation of each column, 1 where that is 0."""
    known = block.astype(np.float64)
    spread = known.std(0)
    return known.mean(0), np.where(spread > 0, spread, 1)


def _keys(table: Table, members: Table) -> NDArray[np.int64]:
    """A number for each member and year; negative where the member is none of `members`."""
    position = np.searchsorted(members["MemberID"], table["MemberID"])
    position = np.minimum(position, len(members["MemberID"]) - 1)
    known = members["MemberID"][position] == table["MemberID"]
    return np.where(known, position * len(YEARS) + table["Year"], MISSING)


def _columns(*columns: NDArray[Any]) -> Block:
    return np.stack(columns, axis=1).astype(np.float32)


def _count(codes: NDArray[Any], record: NDArray[np.int64], n: int, name: str) -> Block:
    """How many rows of each record have each code, (n, c + 1), the last one for missing codes."""
    width = len(CODES[name]) + 1
    column = np.where(codes == MISSING, width - 1, codes)
    counts = np.bincount(record * width + column, minlength=n * width)
    return counts.reshape(n, width).astype(np.float32)


def _distinct(ids: NDArray[Any], record: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many different ids each record has, (n,); a missing one is none."""
    codes, names = pd.factorize(ids)
    pairs = pd.unique(record * len(names) + codes)
    of, code = np.divmod(pairs, len(names))
    return np.bincount(of[names[code] != MISSING], minlength=n)


def _monthly(table: Table, name: str, keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> Block:
    """Logarithms of the sum, of the maximum and of the number of months with any, (n, 3)."""
    month = pd.Series(np.where(table["DSFS"] == MISSING, 0, table["DSFS"]))
    rows = pd.DataFrame({"key": keys, "month": month, "count": table[name]})
    by = rows.groupby("key")
    told = pd.DataFrame(
        {"sum": by["count"].sum(), "max": by["count"].max(), "months": by["month"].nunique()}
    )
    return _columns(*np.log1p(told.reindex(wanted, fill_value=0).to_numpy(np.float64)).T)
