"""The blocks of columns that x of a table is made of, one for each column of its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

from leakage.errors import LeakageError, nearest


def kept_blocks(
    widths: Mapping[str, int], exclude: Iterable[str], name: str, owner: str
) -> dict[str, int]:
    """How many columns of x each block that is not excluded takes, in the order of x.

    Args:
        widths: of all blocks.
        exclude: the names of those that are left out.
        name: the data set.
        owner: what has the blocks, in the words of an error.

    Raises:
        LeakageError: an excluded block is unknown, or none is left.
    """
    left_out = list(exclude)
    for found in left_out:
        if found not in widths:
            raise LeakageError(
                f"data.exclude: {owner} has no column {found!r}; {nearest(found, widths)}"
            )
    kept = {block: width for block, width in widths.items() if block not in left_out}
    if not kept:
        raise LeakageError(
            f"data.exclude: found every column of {name}, at least one must be left for x"
        )
    return kept


def spans_of(widths: Mapping[str, int]) -> dict[str, range]:
    """The columns of x that each block takes.

    >>> spans_of({"age": 1, "sex": 2})
    {'age': range(0, 1), 'sex': range(1, 3)}
    """
    ends = accumulate(widths.values())
    return {name: range(end - widths[name], end) for name, end in zip(widths, ends, strict=True)}
