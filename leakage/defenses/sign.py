"""Sign compression: one bit an entry is shared (Bernstein et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses.base import Defense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout


@dataclass(frozen=True)
class Sign(Defense):
    """Releases the sign of each entry (signSGD, Bernstein et al. 2018).

    Args:
        zero: what an entry that is exactly 0 becomes. `keep` releases 0, a third symbol, which
            tells the observer that no record used the weight; `plus` releases +1; `random`
            releases a fair +1 or -1.
    """

    zero: Literal["keep", "plus", "random"] = "keep"

    def __post_init__(self) -> None:
        if self.zero not in ("keep", "plus", "random"):
            raise LeakageError(
                f"defense.zero: Sign knows 'keep', 'plus' and 'random', got {self.zero!r}"
            )

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        signs = means.sign()
        if self.zero == "keep":
            return signs
        if self.zero == "plus":
            return torch.where(signs == 0, 1.0, signs)
        coins = torch.randint(2, signs.shape, generator=generator, dtype=signs.dtype) * 2 - 1
        return torch.where(signs == 0, coins, signs)
