"""Where each trainable parameter lies in the flat gradient of p entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor, nn

from leakage.errors import LeakageError, nearest


@dataclass(frozen=True)
class Layout:
    """The trainable parameters in the order of `named_parameters`, a shared one once.

    Args:
        names: a name for each parameter, as the module gives it.
        shapes: the shape of each.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of the gradient of a module."""
        trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not trainable:
            raise LeakageError(
                f"model {type(module).__name__}: no parameter requires a gradient, so no gradient"
                " is ever shared; unfreeze at least one layer"
            )
        # A compiled part has the names that it had before.
        names = tuple(name.replace("_orig_mod.", "") for name, _ in trainable)
        return cls(names, tuple(tuple(p.shape) for _, p in trainable))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of entries of each parameter."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def p(self) -> int:
        """The length of the flat gradient."""
        return sum(self.sizes)

    def span(self, name: str) -> slice:
        """The entries of one parameter."""
        position = self.names.index(name)
        start = sum(self.sizes[:position])
        return slice(start, start + self.sizes[position])

    def check_same(self, before: Layout, round_: int) -> None:
        """Refuses a gradient of other entries than before training."""
        if self != before:
            raise LeakageError(
                f"model: the gradient had {before.p} entries before training and has {self.p} in"
                f" round {round_}; the trained parameters must stay the same"
            )

    def select(self, patterns: Sequence[str], key: str) -> tuple[Layout, Tensor]:
        """The part of the gradient that some glob patterns over parameter names keep.

        Args:
            patterns: patterns such as `network.0.*`; a parameter stays where any matches.
            key: the config key that an error names.

        Returns:
            The layout of what is left, and its positions in the whole gradient.

        Raises:
            LeakageError: a pattern that matches no parameter.
        """
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.names):
                raise LeakageError(
                    f"{key}: the pattern {pattern!r} matches no trainable parameter;"
                    f" {nearest(pattern, self.names)}"
                )
        kept = [
            position
            for position, name in enumerate(self.names)
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if not kept:
            raise LeakageError(f"{key}: an empty list lets the adversary see no layer at all")
        columns = torch.arange(self.p).split(list(self.sizes))
        part = Layout(tuple(self.names[i] for i in kept), tuple(self.shapes[i] for i in kept))
        return part, torch.cat([columns[i] for i in kept])

    def groups(self, most: int = 32) -> dict[str, tuple[str, ...]]:
        """The parameters of each layer, by its name; of larger parts where there are too many.

        Args:
            most: groups, at least 1.
        """
        depth = max(name.count(".") for name in self.names) + 1
        while True:
            groups: dict[str, tuple[str, ...]] = {}
            for name in self.names:
                layer = ".".join(name.split(".")[: min(depth, name.count("."))]) or name
                groups[layer] = (*groups.get(layer, ()), name)
            if len(groups) <= most or depth <= 1:
                return groups
            depth -= 1


def rows_at_once(p: int) -> int:
    """How many rows of (n, p) M takes at once: about 4 MB of them."""
    return max(1, min(256, 2**20 // p))
