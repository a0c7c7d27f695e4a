"""What the rows of an audit are that no estimator has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakage.accounting.training import Adjacency

THEORY: dict[Adjacency, str] = {
    "add_or_remove": "theory_add_or_remove",
    "replace_one": "theory_replace_one",
}
"""By adjacency, what DP proves of every pair."""


def theory_of(secret: str) -> str:
    """What DP proves of the pairs of an audit, by the short name of its secret."""
    return THEORY["add_or_remove" if secret == "membership" else "replace_one"]


EXACT, PAIR, CEILING = "exact", "pair", "ceiling"
"""What a pair has under the declared noise; one that needs no bound; the most that one may show."""
