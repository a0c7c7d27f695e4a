"""What sets two neighbouring batches apart: one value of an attribute or another, or a record."""

from __future__ import annotations

from dataclasses import dataclass

from leakage.audit.canaries.form import Swap
from leakage.audit.rules import AuditRules
from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait


@dataclass(frozen=True, eq=False)
class Difference:
    """How the canary of the one neighbour becomes that of the other.

    Args:
        swap: sets the attribute of x; None for membership.
        positions: of its two values among those of the trait.
        values: their names; none for membership.
    """

    swap: Swap | None
    positions: tuple[int, int]
    values: tuple[str, ...]

    @classmethod
    def of(cls, rules: AuditRules, population: Population) -> Difference:
        """What the rules ask for.

        Raises:
            LeakageError: an attribute that is no part of x or does not fix its columns, and values
                that it does not have.
        """
        if rules.attribute is None:
            return cls(None, (0, 1), ())
        trait = population.trait(rules.attribute, "audit.attribute")
        swap, positions = Swap.of(population, trait), _two_values(rules, trait)
        return cls(swap, positions, tuple(trait.values[value] for value in positions))


def _two_values(rules: AuditRules, trait: Trait) -> tuple[int, int]:
    """The positions of the two values: those that are named, else the most frequent."""
    if len(trait.values) < 2:
        raise LeakageError(
            f"audit.attribute: {trait.name!r} has the value {trait.values[0]!r} alone; two are"
            " needed"
        )
    if rules.values is None:
        counts = trait.codes[trait.codes >= 0].bincount(minlength=len(trait.values))
        first, second = counts.argsort(descending=True, stable=True)[:2].sort().values.tolist()
        return first, second
    for value in rules.values:
        if value not in trait.values:
            raise LeakageError(
                f"audit.values: {trait.name!r} has no value {value!r};"
                f" {nearest(value, trait.values)}"
            )
    first, second = map(trait.values.index, rules.values)
    return first, second
