"""What a real adversary may lack: enough shadow records, or ones like those that it attacks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from leakage.errors import LeakageError, nearest
from leakage.population import SHADOW_SPLITS, Population, Trait

LABEL = "label"
"""The name that a shift has for the labels, where no trait has it."""
CLOSE = Fraction(1, 10**6)
"""Shares that sum to 1 up to this much, as three times 0.3333333 do, are meant to sum to 1."""


def fewer_shadow_records(
    population: Population, records: int, generator: torch.Generator
) -> Population:
    """An adversary with about so many shadow records: whole units, chosen at random.

    The two shadow splits keep their proportion, and each is the nearest to its part of `records`
    that whole units allow: where every record is a unit, `records` are left exactly. With the same
    generator, fewer records are among more.

    Args:
        population: the records and their parts; all but the shadow splits stay as they are.
        records: of both shadow splits together, at most as many as they hold.
        generator: the only source of randomness.

    Raises:
        LeakageError: there are not so many, or one of the splits would lose its last unit.
    """
    fit, calibrate = (len(population.splits[split]) for split in SHADOW_SPLITS)
    total = fit + calibrate
    if records > total:
        raise LeakageError(
            f"attack.shadow_records: {records} records are more than the {total} shadow records of"
            f" the data set {population.name}"
        )
    middles = [
        _middles(population.units[population.splits[split]], generator) for split in SHADOW_SPLITS
    ]

    def parts(n: int) -> tuple[int, int]:
        of_fit = (2 * n * fit + total) // (2 * total)  # n * fit / total, rounded
        return of_fit, n - of_fit

    def enough(n: int) -> bool:
        pairs = zip(middles, parts(n), strict=True)
        return all(int(middle.min()) <= 2 * part for middle, part in pairs)

    if not enough(records):
        least = bisect_left(range(total + 1), True, key=enough)
        raise LeakageError(
            f"attack.shadow_records: {records} records are too few to keep a unit in each of"
            f" {' and '.join(SHADOW_SPLITS)}; at least {least} are needed"
        )
    kept = {
        split: population.splits[split][middle <= 2 * part]
        for split, middle, part in zip(SHADOW_SPLITS, middles, parts(records), strict=True)
    }
    return replace(population, splits={**population.splits, **kept})


def _middles(units: Tensor, generator: torch.Generator) -> Tensor:
    """Twice how many records stand before the middle of a record's unit in a random queue.

    A split of about m records keeps each unit of which at least half stands among the first m.

    Args:
        units: the unit of each record, int64 (N,).
        generator: of the order of the units.

    Returns:
        In 1..2N-1, int64 (N,); equal for the records of a unit.
    """
    distinct, of_record, sizes = units.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(distinct), generator=generator)
    middles = torch.empty_like(sizes)
    middles[order] = 2 * sizes[order].cumsum(0) - sizes[order]
    return middles[of_record]


def shifted_shadow(
    population: Population,
    shift: Mapping[str, Mapping[str, float]],
    generator: torch.Generator,
) -> Population:
    """An adversary whose shadow records have a trait in other shares than those that it attacks.

    Of each shadow split the largest m records are kept such that every value v has its share s_v
    of them in full, m = floor(min over v of n_v / s_v) for n_v records with the value; s_v m is
    rounded up or down where it is no whole number. Values that are not named share what is left
    as they did before. Records, not units, are dropped, and those whose value is unknown.

    Args:
        population: the records and their parts; all but the shadow splits stay as they are.
        shift: for one trait, such as {"race": {"Black": 0.5, "White": 0.5}}, the shares of some of
            its values, each in 0..1, with a sum of at most 1, and of 1 where all are named. The
            trait `label` are the labels, with the values "0", "1", ..., where no trait has the
            name.
        generator: of the choice among the records with a value, the only source of randomness.

    Raises:
        LeakageError: an unknown name, an impossible share, or one of which a split has no record.
    """
    if len(shift) != 1:
        found = ", ".join(map(str, shift)) or "none"
        raise LeakageError(f"attack.shadow_shift: exactly one trait is allowed, found {found}")
    ((name, named),) = shift.items()
    key = f"attack.shadow_shift.{name}"
    trait = _trait(population, name, key)
    shares = _checked(named, trait, key)
    splits = dict(population.splits)
    for split in SHADOW_SPLITS:
        codes = trait.codes[splits[split]]
        held = codes[codes >= 0].bincount(minlength=len(trait.values)).tolist()
        wanted = _shares_of_all(shares, held, trait, f"{key}: {split}")
        order = torch.randperm(len(codes), generator=generator)
        kept = torch.zeros(len(codes), dtype=torch.bool)
        for code, count in enumerate(_counts(wanted, held)):
            kept[order[codes[order] == code][:count]] = True
        splits[split] = splits[split][kept]
    return replace(population, splits=splits)


def _trait(population: Population, name: str, key: str) -> Trait:
    """The trait of a name, or the labels."""
    if name != LABEL or name in population.traits or name in population.unusable:
        return population.trait(name, key)
    labels, codes = population.labels.unique(return_inverse=True)
    return Trait(LABEL, tuple(map(str, labels.tolist())), codes)


def _checked(named: Mapping[str, float], trait: Trait, key: str) -> dict[int, Fraction]:
    """The share of each named value by its code, with no more in sum than is possible."""
    named = {str(value): share for value, share in named.items()}  # YAML reads 0 as a number
    for value, share in named.items():
        if value not in trait.values:
            raise LeakageError(
                f"{key}: {trait.name!r} has no value {value!r}; {nearest(value, trait.values)}"
            )
        if not 0 <= share <= 1:
            raise LeakageError(f"{key}.{value}: a share is a number in 0..1, got {share}")
    # The decimals of the config, and not the binary fractions next to them.
    shares = {trait.values.index(value): Fraction(str(share)) for value, share in named.items()}
    total = sum(shares.values(), Fraction(0))
    if abs(total - 1) <= CLOSE:
        return {code: share / total for code, share in shares.items()}
    if not shares:
        raise LeakageError(f"{key}: found no value; at least one with its share is needed")
    if total > 1:
        raise LeakageError(f"{key}: the shares sum to {float(total)}; at most 1 is allowed")
    if len(shares) == len(trait.values):
        raise LeakageError(
            f"{key}: the shares of all {len(shares)} values sum to {float(total)}; 1 is needed"
        )
    return shares


def _shares_of_all(
    shares: Mapping[int, Fraction], held: Sequence[int], trait: Trait, where: str
) -> list[Fraction]:
    """The share of each value, c of them with a sum of 1; those not named divide what is left."""
    for code, share in shares.items():
        if share and not held[code]:
            raise LeakageError(
                f"{where} holds no record with {trait.values[code]!r}, so that its share can be 0"
                f" only, got {float(share)}"
            )
    left = 1 - sum(shares.values(), Fraction(0))
    others = sum(n for code, n in enumerate(held) if code not in shares)
    if left and not others:
        raise LeakageError(
            f"{where} holds no record with a value that is not named, so that the shares must sum"
            f" to 1, got {float(1 - left)}"
        )
    each = left / max(others, 1)  # of a record whose value is not named
    return [shares.get(code, each * n) for code, n in enumerate(held)]


def _counts(shares: Sequence[Fraction], held: Sequence[int]) -> list[int]:
    """How many records of each value make the largest subsample, by the largest remainders.

    >>> _counts([Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], [4, 9, 9])
    [4, 3, 1]
    """
    size = min(n / share for n, share in zip(held, shares, strict=True) if share) // 1
    parts = [size * share for share in shares]
    counts = [part // 1 for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda code: counts[code] - parts[code])
    for code in by_remainder[: size - sum(counts)]:
        counts[code] += 1
    return counts
