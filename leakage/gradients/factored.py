"""Gradients of records as factors of their layers: an average without a gradient of each record.

One forward and backward pass over many records keeps, for each layer, its inputs a and the
gradients b of its outputs; a batch gradient is then a product of gathered factors, or the average
of one layer's gradients at a time. The gradient of a record is never formed whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from leakage.gradients.clip import Clip
from leakage.gradients.layers import Layer, Workspace, rule_for
from leakage.gradients.loss import Loss
from leakage.gradients.records import Membership, PerRecord, RecordWise, pieces
from leakage.gradients.source import Source


class NotFactoredError(Exception):
    """Why a module has a parameter that no layer's rule can see."""


@dataclass
class _Call:
    """One call of a layer: its inputs, and the gradient of its output once it is known."""

    inputs: tuple[Any, ...]
    b: Tensor | None = field(default=None)


class Factored(RecordWise):
    """Layer by layer, from the factors that hooks keep.

    Raises:
        NotFactoredError: a parameter is shared, or belongs to a module with children.
    """

    path = "factored"
    label = "the factored path"

    def __init__(self, loss: Loss, source: Source, trainable: list[nn.Parameter], p: int) -> None:
        super().__init__(loss, source, trainable, p)
        spans, start = {}, 0
        for parameter in trainable:
            spans[id(parameter)] = slice(start, start + parameter.numel())
            start += parameter.numel()
        self.layers = list(_layers(loss.module, spans, Workspace()))
        self._averaged: set[Layer] = set()
        self._held = 0

    @override
    def of(self, records: Tensor) -> Tensor:
        out = torch.empty(len(records), self.p, device=self.source.device)
        seen = set()
        for layer, a, b in self._factors(records):
            for name, gradients in layer.gradients(a, b).items():
                out[:, layer.spans[name]] = gradients
            seen.add(layer)
        self._zero_all_but(seen, out)
        return out

    @property
    @override
    def formed(self) -> int:
        return sum(layer.size for layer in self._averaged)

    @property
    @override
    def largest(self) -> int:
        return max((layer.size for layer in self._averaged), default=0)

    @property
    @override
    def held(self) -> int:
        return self._held

    @override
    def bytes_of_record(self, saved: int) -> int:
        return 4 * saved + 2 * 4 * max(layer.size for layer in self.layers)

    @override
    def average(
        self, table: Tensor, chunk: int, per_record: PerRecord | None, width: int
    ) -> Tensor:
        if not (per_record is None or isinstance(per_record, Clip)):
            return super().average(table, chunk, per_record, width)
        n, k = table.shape
        used, position = table.unique(return_inverse=True)
        position = position.to(self.source.device)
        out = torch.empty(n, width, device=self.source.device)
        kept: dict[Layer, list[tuple[int, Tensor, Tensor]]] = {}
        averaged: set[Layer] = set()
        for start, piece in pieces(used, chunk):
            factors = self._factors(piece)
            if isinstance(per_record, Clip):
                factors = _clipped(list(factors), per_record)
            members = Membership(position - start, len(piece))
            for layer, a, b in factors:
                b = b / k
                if layer in kept or (layer not in averaged and layer.gathers(a)):
                    kept.setdefault(layer, []).append((start, a, b))
                    continue
                for name, gradients in layer.gradients(a, b).items():
                    columns = out[:, layer.spans[name]]
                    members.add(columns, gradients, new=layer not in averaged)
                averaged.add(layer)
        for layer, parts in kept.items():
            a = _joined([(start, a) for start, a, _ in parts], len(used))
            b = _joined([(start, b) for start, _, b in parts], len(used))
            layer.average(a, b, position, out)
        self._zero_all_but(averaged | kept.keys(), out)
        self._averaged = averaged
        held = sum(a.nbytes + b.nbytes for parts in kept.values() for _, a, b in parts)
        self._held = held // len(used)
        return out

    def refuse_direct_uses(self, records: Tensor) -> None:
        """Raises where the loss uses a parameter outside its layer, as a penalty on weights does.

        With the outputs of all layers cut off, no gradient may be left.
        """

        def cut(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            return output.detach().requires_grad_().clone()

        handles = [layer.module.register_forward_hook(cut, prepend=True) for layer in self.layers]
        try:
            loss = self.loss(self.source.batch(records))
            if loss.requires_grad:
                loss.backward()
            parts = [parameter.grad for parameter in self.trainable]
        finally:
            for handle in handles:
                handle.remove()
            for parameter in self.trainable:
                parameter.grad = None
            self.loss.state.restore()
        used = {
            id(p) for p, g in zip(self.trainable, parts, strict=True) if g is not None and g.any()
        }
        for name, parameter in self.loss.module.named_parameters():
            if id(parameter) in used:
                raise NotFactoredError(f"{name} is used outside its layer")

    def _zero_all_but(self, seen: set[Layer], out: Tensor) -> None:
        """Layers that the loss does not use have gradient zero."""
        for layer in self.layers:
            if layer not in seen:
                for span in layer.spans.values():
                    out[:, span] = 0

    def _factors(self, records: Tensor) -> Iterator[tuple[Layer, Tensor, Tensor]]:
        """The factors of each layer that the loss of these records uses; zero where not finite."""
        m = len(records)
        with self._listening() as calls:
            loss = self.loss(self.source.batch(records)) * m
            if not loss.requires_grad:
                raise NotFactoredError("no layer's output reaches the loss")
            loss.backward()
        heard = {
            layer: [c for c in calls.get(layer, []) if c.b is not None] for layer in self.layers
        }
        whole = torch.ones(m, dtype=torch.bool, device=self.source.device)
        for call in (call for some in heard.values() for call in some):
            for tensor in (*call.inputs, call.b):
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    whole &= self.finite(tensor.reshape(m, -1), records)
        for layer, some in heard.items():
            if not some:
                continue
            pairs = [layer.factors(call.inputs, call.b, m) for call in some]  # type: ignore[arg-type]
            a, b = pairs[0] if len(pairs) == 1 else map(_side_by_side, zip(*pairs, strict=True))
            if not whole.all():
                a, b = a.clone(), b.clone()
                a[~whole], b[~whole] = 0, 0
            yield layer, a, b
        self.loss.state.restore()  # a layer that was run again may have moved its own

    @contextmanager
    def _listening(self) -> Iterator[dict[Layer, list[_Call]]]:
        """Keeps the calls of each layer, and trains none: only factors are computed."""
        calls: dict[Layer, list[_Call]] = {}
        handles = []

        def listen(layer: Layer) -> None:
            def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
                if not isinstance(output, Tensor) or not all(map(_is_plain, inputs)):
                    raise NotFactoredError(f"a {type(layer.module).__name__} gives no plain tensor")
                detached = tuple(x.detach() if isinstance(x, Tensor) else x for x in inputs)
                call = _Call(detached)
                calls.setdefault(layer, []).append(call)
                if not output.requires_grad:  # nothing before it is trained
                    # The clone may be changed in place, which a leaf may not.
                    output = output.detach().requires_grad_().clone()
                output.register_hook(lambda b: setattr(call, "b", b.detach()))
                kept: Tensor = output
                return kept

            # Before hooks of others, which may change the output or keep it.
            handles.append(layer.module.register_forward_hook(keep, prepend=True))

        for layer in self.layers:
            listen(layer)
        for parameter in self.trainable:
            parameter.requires_grad_(False)
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()
            for parameter in self.trainable:
                parameter.requires_grad_(True)
            self.loss.state.restore()


def _clipped(
    factors: Sequence[tuple[Layer, Tensor, Tensor]], clip: Clip
) -> Iterator[tuple[Layer, Tensor, Tensor]]:
    """Factors whose gradients have the norm of the clipped ones: b is scaled, a is not."""
    squares = torch.stack([layer.squared_norms(a, b) for layer, a, b in factors]).sum(0)
    scales = clip.scales(squares.sqrt()).float()
    return ((layer, a, b * scales[:, None, None]) for layer, a, b in factors)


def _side_by_side(calls: tuple[Tensor, ...]) -> Tensor:
    """The factors of several calls of a layer, as more rows of each record."""
    return torch.cat(calls, 1)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor | int | float | bool | str | None)


def _layers(module: nn.Module, spans: dict[int, slice], workspace: Workspace) -> Iterator[Layer]:
    seen: set[int] = set()
    for name, part in module.named_modules():
        own = {n: spans[id(q)] for n, q in part.named_parameters(recurse=False) if id(q) in spans}
        if not own:
            continue
        kind = f"{name} ({type(part).__name__})" if name else type(part).__name__
        if next(part.children(), None) is not None:
            raise NotFactoredError(f"{kind} has parameters and layers of its own")
        shared = seen & {span.start for span in own.values()}
        if shared or len({span.start for span in own.values()}) < len(own):
            raise NotFactoredError(f"{kind} shares a parameter with another layer")
        seen |= {span.start for span in own.values()}
        yield rule_for(part, own, workspace)


def _joined(parts: Sequence[tuple[int, Tensor]], m: int) -> Tensor:
    """Factors (m, L, width) of pieces of the records, each with its first position.

    Zero where a piece has fewer rows than another, or does not use the layer at all.
    """
    first = parts[0][1]
    if len(first) == m:
        return first
    rows = max(part.shape[1] for _, part in parts)
    whole = first.new_zeros(m, rows, first.shape[2])
    for start, part in parts:
        whole[start : start + len(part), : part.shape[1]] = part
    return whole
