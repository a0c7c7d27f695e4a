"""One layer's share of the gradient, from its input and the gradient of its output.

Where a layer sees the records of a batch one by one, its part of a record's gradient is a function
of the record's own input a and of the gradient b of its own output: b^T a for a linear layer
(Goodfellow 2015). Both are kept as (m, L, width): m records, L rows a record (positions of a
convolution, tokens, calls of the layer).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from typing_extensions import override

Spans = Mapping[str, slice]
"""Where each parameter of a layer that is trained lies in the flat gradient."""

_GATHERED_ROWS = 8  # up to here a product of gathered factors beats an average of products
_WORKSPACE = 2**20  # floats of a gathered product at once: they stay in the caches


class Workspace:
    """Memory that is kept between layers: fresh one costs more than what is computed in it."""

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """A tensor of this shape, that holds until the next one is taken."""
        size = prod(shape)
        if len(self._kept) < size or self._kept.device != like.device:
            self._kept = torch.empty(size, device=like.device)
        return self._kept[:size].view(shape)


_ROUNDING = 3e-7  # of float32 sums over rows


class Layer(ABC):
    """The rule of one kind of layer.

    Args:
        module: the layer.
        spans: its trained parameters.
        workspace: shared with the other layers of the module.
    """

    def __init__(self, module: nn.Module, spans: Spans, workspace: Workspace) -> None:
        self.module: Any = module  # of a kind that a leaf knows
        self.spans, self._workspace = spans, workspace

    @property
    def size(self) -> int:
        """The number of its trained entries."""
        return sum(span.stop - span.start for span in self.spans.values())

    @abstractmethod
    def factors(self, inputs: Sequence[Any], output: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """The input and the gradient of the output of one call, as a and b (m, L, width)."""

    @abstractmethod
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Each parameter's gradient of each record, by its name: (m, entries).

        They hold until those of another layer are computed.
        """

    def gathers(self, a: Tensor) -> bool:
        """Whether `average` is the cheaper way for factors of this size."""
        return False

    def average(self, a: Tensor, b: Tensor, table: Tensor, out: Tensor) -> None:
        """Puts the sum of the gradients of each row of the table (n, k) in its part of `out`."""
        raise NotImplementedError

    def squared_norms(self, a: Tensor, b: Tensor) -> Tensor:
        """The squared norm of its part of each record's gradient, float64 (m,), never too small."""
        parts = self.gradients(a, b).values()
        return torch.stack([_lengths(part).square() for part in parts]).sum(0)


class Product(Layer):
    """A linear layer, or a convolution as one over its patches: b^T a, and b for the bias."""

    @override
    def factors(self, inputs: Sequence[Any], output: Tensor, m: int) -> tuple[Tensor, Tensor]:
        a = inputs[0]
        if isinstance(self.module, nn.Linear):
            return a.reshape(m, -1, a.shape[-1]), output.reshape(m, -1, output.shape[-1])
        patches = _patches(self.module, a)  # (m, in * kernel, L)
        return patches.transpose(1, 2), output.flatten(2).transpose(1, 2)

    @override
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        parts = {}
        if "weight" in self.spans:
            weight = self._workspace.take(a, len(a), b.shape[2], a.shape[2])
            torch.bmm(b.transpose(1, 2), a, out=weight)
            parts["weight"] = weight.flatten(1)
        if "bias" in self.spans:
            parts["bias"] = b.sum(1)
        return parts

    @override
    def gathers(self, a: Tensor) -> bool:
        return a.shape[1] <= _GATHERED_ROWS

    @override
    def average(self, a: Tensor, b: Tensor, table: Tensor, out: Tensor) -> None:
        width, fan_in = b.shape[2], a.shape[2]
        k = table.shape[1] * a.shape[1]
        step = max(1, _WORKSPACE // (k * (width + fan_in) + width * fan_in))
        for part in (slice(i, i + step) for i in range(0, len(table), step)):
            rows = table[part].flatten()
            B = b.index_select(0, rows).view(-1, k, width)
            if "weight" in self.spans:
                A = a.index_select(0, rows).view(-1, k, fan_in)
                weight = out[part, self.spans["weight"]].unflatten(1, (width, fan_in))
                if k == 1:  # an outer product has nothing to add up
                    torch.mul(B.transpose(1, 2), A, out=weight)
                else:
                    weight.copy_(torch.bmm(B.transpose(1, 2), A))
            if "bias" in self.spans:
                out[part, self.spans["bias"]] = B.sum(1)

    @override
    def squared_norms(self, a: Tensor, b: Tensor) -> Tensor:
        rows, (width, fan_in) = a.shape[1], (b.shape[2], a.shape[2])
        weighted, biased = "weight" in self.spans, float("bias" in self.spans)
        squares = _lengths(a).square() * weighted + biased  # (m, rows)
        if rows == 1:
            return (squares * _lengths(b).square())[:, 0]
        # Rows may cancel: what is left of float32 sums can be longer than the exact gradient.
        rounding = _ROUNDING * (squares.sqrt() * _lengths(b)).sum(1)
        if rows * (width + fan_in) > 2 * width * fan_in:
            return (super().squared_norms(a, b).sqrt() + rounding).square()
        # |b^T a|^2 is the sum of (a a^T) * (b b^T): no gradient is formed.
        a, b = a.double(), b.double()
        gram = torch.bmm(a, a.transpose(1, 2)) * weighted + biased
        exact = (gram * torch.bmm(b, b.transpose(1, 2))).sum((1, 2)).clamp(min=0)
        return (exact.sqrt() + rounding).square()


class Lookup(Layer):
    """An embedding: the rows of b, each added where its token stands."""

    @override
    def factors(self, inputs: Sequence[Any], output: Tensor, m: int) -> tuple[Tensor, Tensor]:
        b = output.reshape(m, -1, output.shape[-1])
        tokens = inputs[0].reshape(m, -1)
        padding = self.module.padding_idx
        if padding is not None:
            b = b * (tokens != padding).unsqueeze(2)
        return tokens.unsqueeze(2), b

    @override
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        records = torch.arange(len(a), device=a.device).unsqueeze(1)
        out = torch.zeros(len(a), self.size, device=b.device)
        self._add(a, b, records, out, slice(0, self.size))
        return {"weight": out}

    @override
    def gathers(self, a: Tensor) -> bool:
        return True

    @override
    def average(self, a: Tensor, b: Tensor, table: Tensor, out: Tensor) -> None:
        out[:, self.spans["weight"]] = 0
        self._add(a, b, table, out, self.spans["weight"])

    def _add(self, a: Tensor, b: Tensor, table: Tensor, out: Tensor, span: slice) -> None:
        width = b.shape[2]
        k = table.shape[1] * a.shape[1]
        step = max(1, _WORKSPACE // (k * width))
        columns = torch.arange(width, device=out.device)
        for part in (slice(i, i + step) for i in range(0, len(table), step)):
            rows = table[part].flatten()
            tokens = a.index_select(0, rows).view(-1, k, 1)
            entries = (tokens * width + columns).flatten(1)  # (rows, k * width)
            out[part, span].scatter_add_(1, entries, b.index_select(0, rows).view(-1, k * width))


class Scale(Layer):
    """The scale and shift of a normalisation over one record: b * a normalised, and b."""

    @override
    def factors(self, inputs: Sequence[Any], output: Tensor, m: int) -> tuple[Tensor, Tensor]:
        a, layer = inputs[0], self.module
        if isinstance(layer, nn.GroupNorm):
            normal = F.group_norm(a, layer.num_groups, None, None, layer.eps)
            return normal.flatten(2).transpose(1, 2), output.flatten(2).transpose(1, 2)
        normal = F.layer_norm(a, layer.normalized_shape, None, None, layer.eps)
        width = int(torch.Size(layer.normalized_shape).numel())
        return normal.reshape(m, -1, width), output.reshape(m, -1, width)

    @override
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        parts = {}
        if "weight" in self.spans:
            parts["weight"] = (a * b).sum(1)
        if "bias" in self.spans:
            parts["bias"] = b.sum(1)
        return parts


class Redo(Layer):
    """Any other layer: run again, alone, on each record."""

    @override
    def factors(self, inputs: Sequence[Any], output: Tensor, m: int) -> tuple[Tensor, Tensor]:
        parameters = {
            name: p.detach() for name, p in self.module.named_parameters() if name in self.spans
        }

        def answer(trained: dict[str, Tensor], given: Sequence[Any], b: Tensor) -> Tensor:
            ones = tuple(x.unsqueeze(0) if isinstance(x, Tensor) else x for x in given)
            output: Tensor = functional_call(self.module, trained, ones)
            return (output * b.unsqueeze(0)).sum()

        axes = tuple(0 if isinstance(x, Tensor) else None for x in inputs)
        found = vmap(grad(answer), in_dims=(None, axes, 0))(parameters, tuple(inputs), output)
        # Its own gradients are the factors, since no smaller ones are known.
        whole = torch.cat([found[name].flatten(1) for name in self.spans], 1)
        return whole.unsqueeze(1), whole.new_ones(m, 1, 1)

    @override
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        whole = (a * b).sum(1)
        sizes = [span.stop - span.start for span in self.spans.values()]
        return dict(zip(self.spans, whole.split(sizes, 1), strict=True))


def rule_for(module: nn.Module, spans: Spans, workspace: Workspace) -> Layer:
    """The rule that knows a layer; `Redo` for those that none knows."""
    if not spans.keys() <= {"weight", "bias"}:  # another way to write its weight
        return Redo(module, spans, workspace)
    plain = (
        isinstance(module, nn.Conv1d | nn.Conv2d)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )
    if type(module) is nn.Linear or (type(module) in (nn.Conv1d, nn.Conv2d) and plain):
        return Product(module, spans, workspace)
    if type(module) in (nn.LayerNorm, nn.GroupNorm):
        return Scale(module, spans, workspace)
    if type(module) is nn.Embedding and not module.scale_grad_by_freq and module.max_norm is None:
        return Lookup(module, spans, workspace)
    return Redo(module, spans, workspace)


def _patches(layer: Any, x: Tensor) -> Tensor:
    """The patches that a convolution multiplies with its weight: (m, in * kernel, L)."""
    if isinstance(layer, nn.Conv1d):
        flat = {
            name: (1, getattr(layer, name)[0]) for name in ("kernel_size", "dilation", "stride")
        }
        return F.unfold(x.unsqueeze(2), padding=(0, int(layer.padding[0])), **flat)
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0):
        return x.flatten(2)
    return F.unfold(
        x, layer.kernel_size, dilation=layer.dilation, padding=layer.padding, stride=layer.stride
    )


def _lengths(vectors: Tensor) -> Tensor:
    """The l2 norms along the last dimension, in float64: float32 squares would overflow."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float64)
    return lengths
