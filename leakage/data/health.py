"""Heritage Health Prize (2011): does a member have a comorbidity (Charlson index) in a year."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset
from typing_extensions import override

from leakage.data.blocks import kept_blocks, spans_of
from leakage.data.health_files import AGES, CODES, TABLES, Table, read_table
from leakage.data.health_records import (
    CATEGORIES,
    WIDTHS,
    Records,
    encode,
    make_fields,
    make_records,
)
from leakage.data.module import ALL_SHARES, FolderData, check_units
from leakage.data.standins.health import HEALTH
from leakage.data.traits import make_trait
from leakage.data.unreadable import Unreadable, check_max_unreadable
from leakage.population import Population, Trait, split_by_unit
from leakage.randomness import torch_generator

AGE_BANDS = {
    "under 20": AGES[:2],
    "20 to 39": AGES[2:4],
    "40 to 59": AGES[4:6],
    "60 and over": AGES[6:],
}
CONDITIONS = {"pregnancy": ("PRGNCY",), "cancer": ("CANCRA", "CANCRB", "CANCRM")}
"""Traits that a claim in the year makes, by their groups of conditions."""


class Health(FolderData):
    """Reader, splits, loaders of the Heritage Health Prize; an item is (x float32 (d,), y int64).

    A record is a member in a year with a claim; y is 1 where a claim of that year has a Charlson
    index above 0. x holds, by the official column: log(1 + number of claims) of each Specialty,
    PlaceSvc, PrimaryConditionGroup and ProcedureGroup, with a column for those where it is empty;
    the number of claims (the block Claims), of different ProviderID, Vendor and PCP; PayDelay,
    mean and maximum; LengthOfStay in days, total and maximum; DSFS in months, maximum; SupLOS, how
    often; DrugCount and LabCount, sum, maximum and months; Year, Sex and AgeAtFirstClaim, one-hot.
    Counts are logarithms, and all but those of codes standardised over the train records. The
    Charlson index itself is no part of x. Units are members, divided by `ALL_SHARES`.

    Args:
        root: folder of Claims.csv, Members.csv, DrugCount.csv and LabCount.csv; what lies beside
            them is not read.
        standin: write made-up files to the root where it has none.
        standin_size: members of the made-up set.
        standin_seed: of the generator of made-up files.
        exclude: columns left out of x, by their official names such as `Sex`.
        batch_size: records a batch, at least 1.
        seed: of the splits and nothing else.
        num_workers: processes that load batches, at least 0.
        max_unreadable: the share of the rows of a file that may be malformed, and of the members
            with claims that Members.csv may lack, in 0..1.

    Raises:
        LeakageError: an excluded column is unknown, none is left, or a setting out of its range.
    """

    classes = 2
    made_up = HEALTH

    def __init__(
        self,
        root: str = "data/health",
        standin: bool = False,
        standin_size: int = 6000,
        standin_seed: int = 0,
        exclude: list[str] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        max_unreadable: float = 0.01,
    ) -> None:
        super().__init__(root, standin, standin_size, standin_seed, batch_size, seed, num_workers)
        check_max_unreadable(max_unreadable)
        self.max_unreadable = max_unreadable
        self.widths = kept_blocks(WIDTHS, exclude or (), "Health", "x of Health")

    @property
    def in_features(self) -> int:
        """The number of columns of x."""
        return sum(self.widths.values())

    @property
    @override
    def official(self) -> tuple[str, ...]:
        return tuple(TABLES)

    @override
    def read(self, standin: bool) -> Population:
        members = self._read_members()
        claims = self._with_members(self._table("Claims.csv"), members)
        drugs, labs = self._table("DrugCount.csv"), self._table("LabCount.csv")
        records = make_records(claims, members, drugs, labs)
        del claims, drugs, labs  # most of the memory
        units = torch.from_numpy(records.member)
        splits = split_by_unit(units, ALL_SHARES, torch_generator(self.seed, "health", "splits"))
        x = torch.from_numpy(encode(records, self.widths, splits["train"].numpy()))
        y = torch.from_numpy(records.label)
        return Population(
            name="Health",
            records=TensorDataset(x, y),
            labels=y,
            features=x,
            traits=make_traits(records, self.widths),
            units=units,
            splits=splits,
            standin=standin,
            fields=make_fields(records, self.widths, splits["train"].numpy()),
        )

    def _table(self, name: str) -> Table:
        return read_table(self.root / name, self.max_unreadable)

    def _read_members(self) -> Table:
        """Members in ascending order, each once, but for those of whom the file says two things."""
        members = self._table("Members.csv")
        distinct = np.unique(np.stack(list(members.values())), axis=1)
        ids, of_row, rows = np.unique(distinct[0], return_inverse=True, return_counts=True)
        unreadable = Unreadable(self.root / "Members.csv", "members")
        for member in ids[rows > 1].tolist():
            unreadable.add(f"MemberID {member}", "rows that differ in age or sex")
        unreadable.settle(len(ids), self.max_unreadable)
        alone = rows[of_row] == 1
        return dict(zip(members, distinct[:, alone], strict=True))

    def _with_members(self, claims: Table, members: Table) -> Table:
        """The claims of members whom Members.csv tells; the others are counted."""
        ids = np.unique(claims["MemberID"])
        lacking = ids[~np.isin(ids, members["MemberID"])]
        unreadable = Unreadable(self.root / "Claims.csv", "members")
        for member in lacking.tolist():
            unreadable.add(f"MemberID {member}", "no readable row in Members.csv")
        unreadable.settle(len(ids), self.max_unreadable)
        found = len(ids) - len(lacking)
        check_units(
            self.root / "Claims.csv", found, "members with a row in Members.csv", ALL_SHARES
        )
        if not len(lacking):
            return claims
        kept = ~np.isin(claims["MemberID"], lacking)
        return {name: values[kept] for name, values in claims.items()}


def make_traits(records: Records, widths: dict[str, int]) -> dict[str, Trait]:
    """What is known of the records, with the columns of x that tell it."""
    spans = spans_of(widths)
    age = records.codes["AgeAtFirstClaim"]
    band_of = np.repeat(np.arange(len(AGE_BANDS)), list(map(len, AGE_BANDS.values())))
    traits = [
        _trait("sex", CATEGORIES["Sex"], records.codes["Sex"], spans.get("Sex"), one_hot=True),
        _trait("age", AGES, age, spans.get("AgeAtFirstClaim"), one_hot=True),
        _trait(
            "age-band",
            tuple(AGE_BANDS),
            np.append(band_of, -1)[age],
            spans.get("AgeAtFirstClaim"),
        ),
        _trait("year", CATEGORIES["Year"], records.codes["Year"], spans.get("Year"), one_hot=True),
    ]
    groups = CODES["PrimaryConditionGroup"]
    for name, conditions in CONDITIONS.items():
        counts = records.blocks["PrimaryConditionGroup"][:, list(map(groups.index, conditions))]
        # The whole block: what the other counts leave of the number of claims tells it too.
        traits.append(_some(name, counts, spans.get("PrimaryConditionGroup")))
    for name, block in (("drugs", "DrugCount"), ("labs", "LabCount")):
        traits.append(_some(name, records.blocks[block], spans.get(block)))
    return {trait.name: trait for trait in traits}


def _some(name: str, counts: NDArray[np.float32], span: range | None) -> Trait:
    """Whether any of the counts of a record, (N, w), is above 0."""
    return _trait(name, ("no", "yes"), np.where(counts.max(1) > 0, 1, 0), span)


def _trait(
    name: str,
    values: Sequence[str],
    codes: NDArray[np.int64],
    span: range | None,
    one_hot: bool = False,
) -> Trait:
    """A trait, of which `span` holds the columns of x that tell it, where x has them."""
    columns = span or ()
    return make_trait(name, values, torch.from_numpy(codes), columns, columns if one_hot else ())
