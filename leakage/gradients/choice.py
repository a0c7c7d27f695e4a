"""Which path gives the gradients of a module: decided by comparing on a few records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from textwrap import shorten

import torch
from torch import Tensor

from leakage.errors import LeakageError
from leakage.gradients.compare import is_close, refuse_non_finite, worst_layer
from leakage.gradients.factored import Factored, NotFactoredError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import computing, failing_layer
from leakage.gradients.plain import Plain
from leakage.gradients.records import RecordWise, Vmapped
from leakage.gradients.source import same


@dataclass(frozen=True)
class Choice:
    """The path that was chosen.

    Args:
        records: the way to gradients of records; None where each batch is computed by itself.
        reason: why, in words.
        saved: bytes that a forward pass keeps for each record.
        scale: the mean norm of the gradients of a few records, 0 where they have none.
    """

    records: RecordWise | None
    reason: str
    saved: int
    scale: float = 0.0


class Comparison:
    """Compares ways to a gradient with plain autograd, on the records of a probe.

    Args:
        plain: the gradients to agree with.
        layout: of the gradient.
        probe: indices of a few records.
    """

    def __init__(self, plain: Plain, layout: Layout, probe: Tensor) -> None:
        self.plain, self.layout, self._loss = plain, layout, plain.loss
        self.look = plain.look(probe)
        if not self.look.gradient.isfinite().all():
            finite = [record for record in probe.split(1) if self._is_finite(record)]
            probe = torch.cat(finite) if len(finite) > 1 else probe
            self.look = plain.look(probe)
        refuse_non_finite(self.look.gradient.unsqueeze(0), layout, self._loss.name)
        self.probe = probe

    @property
    def unused(self) -> tuple[str, ...]:
        """The parameters that the loss does not use."""
        pairs = zip(self.layout.names, self.look.used, strict=True)
        return tuple(name for name, used in pairs if not used)

    def choose(self, forced: str | None) -> Choice:
        """The first path that agrees with plain autograd, or the one that is asked for."""
        self._refuse_memory_of_batches()
        saved = -(-self.look.saved // len(self.probe))
        reason = self.reason_against_vmap()
        reasons = [] if reason is None else [reason]
        for way in () if reasons else (Factored, Vmapped):
            if forced not in (None, way.path):
                continue
            found = self._try(way)
            if not isinstance(found, str):
                equal = f"equal to plain autograd on {len(self.probe)} records"
                return Choice(found[0], "; ".join([*reasons, equal]), saved, found[1])
            reasons.append(found)
        if forced not in (None, "batch-wise"):
            raise LeakageError(f"model {self._loss.name}: no {forced} path, {'; '.join(reasons)}")
        return Choice(None, reasons[-1] if reasons else "as asked for", saved)

    def _is_finite(self, record: Tensor) -> bool:
        try:
            return bool(self.plain.gradient(record).isfinite().all())
        except LeakageError:  # a batch of one is too small for some
            return False

    def _refuse_memory_of_batches(self) -> None:
        again = self.plain.gradient(self.probe)
        if is_close(again, self.look.gradient):
            return
        with computing(self.plain.source.device):
            first = self.plain.source.batch(self.probe)
        with computing(self.plain.source.device):
            second = self.plain.source.batch(self.probe)
        if not same(first, second):
            raise LeakageError(
                "data: the same record and random state give another record the second time; let"
                " the data set draw from the global torch, numpy or random, which are seeded"
            )
        layer = worst_layer(self.layout, self.look.gradient, again)
        raise LeakageError(
            f"model {self._loss.name}: the same batch and random state give another gradient the"
            f" second time, first of all in {layer}, so the module keeps state between batches, or"
            " draws from a generator of its own; reset it at the start of training_step, or keep"
            " it in a buffer"
        )

    def reason_against_vmap(self) -> str | None:
        """Why nothing that vmap does equals plain autograd, as far as one batch shows it."""
        if self._loss.hooked:
            return f"{self._loss.hooked[0]} has a hook on the gradient of a batch"
        if "data" in self.look.drawn:
            return "records are drawn anew: the data set gives another one each time"
        other = self.plain.gradient(self.probe, 1) if self.look.drawn else self.look.gradient
        if not is_close(other, self.look.gradient):
            layer = worst_layer(self.layout, self.look.gradient, other)
            return f"stochastic layers: {layer} changes from call to call"
        if self.look.drawn:
            return f"stochastic layers: {self._loss.step_name} draws random numbers"
        return None

    def _try(self, way: type[RecordWise]) -> tuple[RecordWise, float] | str:
        """A way and the mean norm that it gives, or why it is not to be taken."""
        few = self.probe[:3]
        half = -(-len(self.probe) // 2)  # in two pieces: a loss that weighs records shows

        def gradients() -> tuple[RecordWise, Tensor, Tensor]:
            with computing(self.plain.source.device):
                found = way(self._loss, self.plain.source, self.plain.trainable, self.layout.p)
                if isinstance(found, Factored):
                    found.refuse_direct_uses(self.probe)
                mean = found.average(self.probe.unsqueeze(0), half, None, self.layout.p)[0]
                return found, mean, found.of(few)

        try:
            found, mean, each = gradients()
        except NotFactoredError as error:
            return f"not factored: {error}"
        except Exception as error:  # whatever a training_step does with what it is given
            place = failing_layer(self._loss.module, gradients) or self._loss.step_name
            if "BatchNorm" in place:  # its own words are about vmap, and long
                return f"records mix in {place}, which is in training mode"
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"{way.label} refuses in {place}: {shorten(said, 120, placeholder='...')}"
        finally:
            self._loss.state.restore()
        scale = float(each.norm(dim=1).mean())
        groups = [[0]] if len(few) == 1 else [list(c) for c in combinations(range(len(few)), 2)]
        for group in ([], *groups):  # all, and pairs, which tell three records apart
            expected = self.plain.gradient(few[group]) if group else self.look.gradient
            average = each[group].mean(0) if group else mean
            if not is_close(average, expected, scale):
                layer = worst_layer(self.layout, expected, average)
                return f"records mix: {layer} differs from the mean over records"
        found.broken.clear()
        return found, scale
