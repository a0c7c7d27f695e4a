"""The gradient of each record of a live step, through the hooks of Opacus (Yousefpour et al. 2021).

One forward and backward pass, those of training itself, gives the gradients of all its records.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from leakage.gradients.clip import Clip
from leakage.gradients.compare import is_close, worst_layer
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss, computing
from leakage.gradients.records import PerRecord
from leakage.quiet import untouched_logging

with untouched_logging():
    from opacus.grad_sample import GradSampleHooks

# What the hooks leave on layers and on parameters.
_ON_LAYERS = (
    "activations",
    "max_batch_len",
    "ft_compute_sample_grad",
    "autograd_grad_sample_hooks",
)
_ON_PARAMETERS = ("grad_sample", "_forward_counter", "_current_grad_sample", "_norm_sample")
_COARSE = 5e-2  # of the norm, where numbers have the 8 bits of bfloat16


class NotByRecordError(Exception):
    """Why the hooks gave no gradient to each record."""


class Samples:
    """The gradients of the records of one batch, by parameter.

    Args:
        parts: float32 (k, entries) each; None where the loss does not use the parameter.
        layout: of the gradient.
        k: the records.
    """

    def __init__(self, parts: Sequence[Tensor | None], layout: Layout, k: int) -> None:
        self._parts, self._layout = parts, layout
        squares = torch.zeros(k, dtype=torch.float64)
        for part in parts:
            if part is not None:
                norm = torch.linalg.vector_norm(part, dim=1, dtype=torch.float64)
                squares = squares.to(part.device) + norm.square()
        self.norms = squares.sqrt()  # of finite float32 entries, it is finite

    @property
    def whole(self) -> Tensor:
        """Which records have a gradient without NaN and inf, bool (k,)."""
        return self.norms.isfinite()

    @property
    def unused(self) -> tuple[str, ...]:
        """The parameters that the loss does not use."""
        pairs = zip(self._layout.names, self._parts, strict=True)
        return tuple(name for name, part in pairs if part is None)

    def contradiction(self, shared: Tensor, *, coarse: bool = False) -> str | None:
        """Where their mean is not the gradient (p,) of the batch; None where it is, or unknown.

        Args:
            shared: of the same backward pass.
            coarse: whether training computes in 16 bits.
        """
        if not shared.isfinite().all():
            return None
        if not self.whole.all():
            return "some record has NaN or inf where the batch has none"
        mean = torch.cat([part.mean(0) for part in self._filled()])
        scale = float(self.norms.mean()) * (1e3 if coarse else 1)
        close = is_close(mean, shared, scale, _COARSE) if coarse else is_close(mean, shared, scale)
        if close:
            return None
        return f"{worst_layer(self._layout, shared, mean)} differs from the gradient of the batch"

    def mean(self, per_record: PerRecord | None) -> Tensor:
        """The mean over records of what a map leaves of each, float32 (1, p); uses them up.

        A record with NaN or inf counts as zero.
        """
        broken = (~self.whole).nonzero().flatten()
        for part in self._parts:
            if part is not None and len(broken):
                part[broken] = 0  # times 0 it would stay NaN
        if isinstance(per_record, Clip):  # no copy of all of them at once
            scales = per_record.scales(self.norms.float().index_fill(0, broken, 0)).unsqueeze(1)
            means = [part.mul_(scales).mean(0) for part in self._filled()]
            return torch.cat(means).unsqueeze(0)
        rows = torch.cat(self._filled(), 1)
        return (rows if per_record is None else per_record(rows)).mean(0, keepdim=True)

    def _filled(self) -> list[Tensor]:
        k, device = len(self.norms), self.norms.device
        pairs = zip(self._parts, self._layout.sizes, strict=True)
        return [
            torch.zeros(k, size, device=device) if part is None else part for part, size in pairs
        ]


class LiveRecords:
    """Listens to the next forward and backward pass of a module.

    The module is neither wrapped nor replaced; `collect` and `remove` leave it as it was, so that
    nothing that copies it between two steps meets a hook.

    Args:
        module: whose loss is the mean over the records of a batch.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._trainable = [p for p in module.parameters() if p.requires_grad]
        self._before = [
            (part, set(vars(part)), part._is_full_backward_hook) for part in module.modules()
        ]
        self._hooks: GradSampleHooks | None = None
        self._quiet: warnings.catch_warnings[None] | None = warnings.catch_warnings()
        self._quiet.__enter__()  # the first layer is told of in each step
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        # A batch needs no gradient itself, which torch would say again in every step.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            self._hooks = GradSampleHooks(module, loss_reduction="mean", strict=False)
        except Exception:
            self.remove()
            raise

    def collect(self, k: int) -> Samples:
        """The gradients of the k records of the pass; the module is as it was.

        Raises:
            NotByRecordError: a parameter has them for another number of records.
        """
        try:
            parts = [self._part(parameter) for parameter in self._trainable]
        finally:
            self.remove()
        rows = {len(part) for part in parts if part is not None}
        if rows - {k}:
            raise NotByRecordError(f"gradients of {max(rows)} rows from {k} records")
        return Samples(parts, Layout.of(self._module), k)

    def remove(self) -> None:
        """Takes the hooks away, and what they left."""
        if self._quiet is not None:
            self._quiet.__exit__(None, None, None)
            self._quiet = None
        if self._hooks is not None:
            self._hooks.disable_hooks()  # a graph that still stands would call them
        for handle in vars(self._module).get("autograd_grad_sample_hooks", ()):
            handle.remove()
        for part, names, full in self._before:
            for name in _ON_LAYERS:
                if name in vars(part) and name not in names:
                    delattr(part, name)
            part._is_full_backward_hook = full
        for parameter in self._module.parameters():
            for name in _ON_PARAMETERS:
                vars(parameter).pop(name, None)

    def _part(self, parameter: nn.Parameter) -> Tensor | None:
        found = getattr(parameter, "grad_sample", None)
        if isinstance(found, list):  # of several calls of one layer
            found = torch.stack(found).sum(0)
        return None if found is None else found.detach().flatten(1).float()


def reason_against_hooks(
    loss: Loss,
    batch: Any,
    k: int,
    engine_of: Callable[[Tensor], GradientEngine],
    clip: Clip,
    autocast: Callable[[], AbstractContextManager[Any]] | None = None,
) -> str | None:
    """Why the hooks are not to be taken for a module; None where they agree with the engine.

    Args:
        loss: L on a copy of the module.
        batch: of k records, as the copy takes it.
        k: at least 1.
        engine_of: makes an engine of some of them, by their positions.
        clip: what each gradient is clipped to; sharper where no record would feel it.
        autocast: what training computes in, where not in float32.

    Raises:
        LeakageError: no record has a gradient of its own.
    """
    try:
        with computing(next(loss.parameters()).device):
            live = LiveRecords(loss.module)
            try:
                with nullcontext() if autocast is None else autocast():
                    value = loss(batch)
                if value.requires_grad:
                    value.backward()
                samples = live.collect(k)
            finally:
                live.remove()
    except Exception as error:  # of layers that Opacus does not know
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"Opacus: {said}"
    whole = samples.whole.cpu().nonzero().flatten()
    if not len(whole):
        return None
    # A sum of gradients that are not clipped hides whose they are.
    median = float(samples.norms[samples.whole].median())
    felt = Clip(min(clip.norm, median / 2)) if median else clip
    engine = engine_of(whole)
    expected = engine.means(whole.unsqueeze(0), torch.Generator(), felt)[0] * len(whole) / k
    found = samples.mean(felt)[0].cpu()
    tolerance = _COARSE if autocast is not None else 2e-3
    if is_close(found, expected, felt.norm, tolerance):
        return None
    layer = worst_layer(engine.layout, expected, found)
    return f"Opacus gives {layer} another sum of clipped gradients than plain autograd"
