"""The population: records, the traits that a secret may be about, units, and splits by unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from leakage.errors import LeakageError, nearest
from leakage.fields import Field
from leakage.fingerprint import Sketch, digest_of

SPLITS = ("train", "validation", "test", "shadow_fit", "shadow_calibrate", "challenge")
"""Training, its two evaluations, the adversary's two shadow parts, and the challenger's records."""
FIT, CALIBRATE, CHALLENGE = GAME_SPLITS = SPLITS[3:]
"""Those that the game plays on, which every population has."""
SHADOW_SPLITS = (FIT, CALIBRATE)
"""Those of the adversary, which may change while the challenger stays the same."""
_PROBED_LABELS = 64


@dataclass(frozen=True)
class Trait:
    """A variable with finitely many values, one a record: what a secret is about.

    Args:
        name: the name that configs use.
        values: the names of its values.
        codes: position in `values` of each record, int64 (N,); -1 where it is unknown.
        columns: the columns of the features x that tell it; empty where it is no part of x.
        one_hot: for each value the column of x that is 1 where the record has the value and 0
            where it has another; empty where x does not encode the trait like that.
    """

    name: str
    values: tuple[str, ...]
    codes: Tensor
    columns: tuple[int, ...] = ()
    one_hot: tuple[int, ...] = ()

    @property
    def in_x(self) -> bool:
        """Whether the model sees the trait, which makes it an attribute and not a property."""
        return bool(self.columns)


@dataclass(frozen=True)
class Population:
    """N records, what is known about them, and which of them play which part.

    Args:
        name: the data set, for logs and reports.
        records: a map-style data set of N records, each as the training loader gives it.
        labels: the label of each record, int64 (N,).
        features: x as one float32 row a record, (N, d): what an imputation starts from.
        traits: by name, everything that a secret may be about.
        units: who or what a record belongs to, int64 (N,): the user where there are users,
            else the record itself. No unit is in two splits.
        splits: by name in `SPLITS`, the indices of the records, int64; those of `GAME_SPLITS`
            hold records, the others may be empty or left out.
        standin: whether the records are made up by a generative model.
        trained_on: whether the records of the game are also those that the model trains on.
        unusable: by name, what is known of the records and still cannot be a secret, each with
            the reason, which goes on after the name.
        fields: what the columns of x mean; empty where that is not known.

    Raises:
        LeakageError: a split of the game is missing or empty, or two splits share a unit.
    """

    name: str
    records: Dataset[Any]
    labels: Tensor
    features: Tensor
    traits: Mapping[str, Trait]
    units: Tensor
    splits: Mapping[str, Tensor]
    standin: bool
    trained_on: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        held = [split for split in SPLITS if len(self.splits.get(split, ()))]
        for split in GAME_SPLITS:
            if split not in held:
                raise LeakageError(
                    f"data set {self.name}: the split {split} holds no record; each of"
                    f" {', '.join(GAME_SPLITS)} needs at least one"
                )
        units = {split: self.units[self.splits[split]].unique() for split in held}
        everyone = torch.cat(list(units.values()))
        if len(everyone.unique()) == len(everyone):
            return
        for one, other in combinations(held, 2):
            shared = units[one][torch.isin(units[one], units[other])]
            if len(shared):
                raise LeakageError(
                    f"data set {self.name}: the splits {one} and {other} share"
                    f" {len(shared)} units, the first is unit {int(shared[0])};"
                    " splits must be disjoint by unit"
                )

    @cached_property
    def fingerprint(self) -> str:
        """Text that changes with any record and its split: what a checkpoint was trained on.

        But for the shadow splits: other adversaries may look at one and the same training. Three
        parts with `-` between them: of the splits, of labels, units and traits, of the features.
        """
        splits = {split: self.splits.get(split, torch.empty(0)) for split in SPLITS}
        seen = [records.sort().values for s, records in splits.items() if s not in SHADOW_SPLITS]
        records = torch.cat([indices for indices in seen if len(indices)])
        parts: list[Tensor | str] = [self.labels[records], self.units[records]]
        for name, trait in sorted(self.traits.items()):
            parts += [name, *trait.values, trait.codes[records]]
        sketch = Sketch.of(self.features, records)
        return f"{digest_of(seen)}-{digest_of(parts)}-{sketch}"

    @cached_property
    def contents(self) -> str:
        """Text that changes with a label, a unit or a trait of any record, and not with splits."""
        parts: list[Tensor | str] = [self.labels, self.units]
        for name, trait in sorted(self.traits.items()):
            parts += [name, *trait.values, trait.codes]
        return digest_of(parts)

    def check_fingerprint(self, found: str) -> None:
        """Refuses a checkpoint of other splits or records: its training would be judged on others.

        Args:
            found: in the checkpoint; an earlier one knows of its splits alone.
        """
        splits, codes, sketch = (*found.split("-", 2), "", "")[:3]
        own_splits, own_codes, own_sketch = self.fingerprint.split("-", 2)
        if splits != own_splits:
            raise LeakageError(
                f"ckpt_path: the checkpoint was trained on other splits of {self.name} than these"
                f" ({splits}, not {own_splits}), so its training records may be in any of them; use"
                " the data and the seed_everything that it was trained with"
            )
        changed = ["labels, units or attributes"] if codes not in ("", own_codes) else []
        if sketch and not Sketch.read(sketch).is_like(Sketch.read(own_sketch)):
            changed.append("features")
        if changed:
            raise LeakageError(
                f"ckpt_path: the data {self.name} have changed since the checkpoint was written:"
                f" the records are in the same splits, with other {' and other '.join(changed)};"
                " use the files that it was trained on, or train anew"
            )

    def trait(self, name: str, key: str) -> Trait:
        """The trait of this name; `key` is the config key that an error names."""
        if name in self.unusable:
            raise LeakageError(f"{key}: {name!r} {self.unusable[name]}")
        if name not in self.traits:
            raise LeakageError(
                f"{key}: the data set {self.name} knows no attribute {name!r};"
                f" {nearest(name, self.traits)}"
            )
        return self.traits[name]


def probe_of(population: Population) -> Tensor:
    """Records for the engine's comparison: four, and one of each further label."""
    records = population.splits[FIT].tolist()
    labels = population.labels.tolist()
    of_label = {labels[record]: record for record in reversed(records)}
    return torch.tensor(sorted({*records[:4], *list(of_label.values())[:_PROBED_LABELS]}))


def columns_that_tell(x: Tensor, codes: Tensor, c: int) -> Tensor:
    """The columns of x each of which tells a trait, or one value of it, wherever it is known.

    Such a column holds one number where a record has some value and another where it has not, or
    a number of its own for each value.

    Args:
        x: the features of each record, (N, d).
        codes: the value of each record, int64 (N,), -1 where it is unknown.
        c: how many values there are.

    Returns:
        Positions in 0..d-1, ascending, int64.
    """
    known = codes >= 0
    if c < 2 or not known.any():
        return torch.empty(0, dtype=torch.int64)
    codes = codes[known]
    holds = torch.nn.functional.one_hot(codes, c).double()
    one_of_each = holds.argmax(0)
    holds = holds - holds.mean(0)
    tells = [torch.empty(0, dtype=torch.bool)]
    for start in range(0, x.shape[1], 256):  # bounds the memory beside x
        part = x[known, start : start + 256].double()
        levels = part[one_of_each]  # (c, columns)
        apart = (levels.sort(0).values.diff(dim=0) > 0).all(0)
        each = apart & (part == levels[codes]).all(0)
        part = part - part.mean(0)
        scale = part.norm(dim=0).unsqueeze(1) * holds.norm(dim=0)  # (columns, c)
        one = ((part.T @ holds).abs() > scale * (1 - 1e-9)) & (scale > 0)
        tells.append(each | one.any(1))
    return torch.cat(tells).nonzero().flatten()


def split_by_unit(
    units: Tensor, shares: Mapping[str, float], generator: torch.Generator
) -> dict[str, Tensor]:
    """Divides records at random so that all records of a unit fall into one split.

    Args:
        units: the unit of each record, int64 (N,).
        shares: the share of the units for each split, each above 0, with sum 1.
        generator: the only source of randomness.

    Returns:
        The indices of the records of each split, ascending.
    """
    distinct, of_record = units.unique(return_inverse=True)
    order = torch.randperm(len(distinct), generator=generator)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    splits: dict[str, Tensor] = {}
    start, cumulated = 0, 0.0
    for name, share in shares.items():
        cumulated += share
        stop = round(cumulated * len(distinct))
        chosen = (rank >= start) & (rank < stop)
        splits[name] = chosen[of_record].nonzero().flatten()
        start = stop
    return splits
