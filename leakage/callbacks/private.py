"""Training under DP: what it refuses, the clipped sum of each step, and what all of it costs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leakage.accounting.training import Accountant, training_epsilon
from leakage.callbacks.poisson import PoissonBatches, draw_by_poisson
from leakage.callbacks.records import BatchRecords, engine_of
from leakage.callbacks.surroundings import as_written
from leakage.callbacks.unfit import refuse_layers, refuse_trainer
from leakage.defenses import Defense, Training, dp_of
from leakage.errors import LeakageError
from leakage.gradients.clip import Clip
from leakage.gradients.layout import Layout
from leakage.gradients.live import LiveRecords, NotByRecordError, Samples, reason_against_hooks
from leakage.gradients.loss import Loss
from leakage.gradients.plain import Plain
from leakage.gradients.source import Source

_COMPARED = 64  # records, in batches of two and more, on which the hooks are compared
_ACCOUNTANTS: dict[str, Accountant] = {
    "epsilon_training": "pld",
    "epsilon_training_rdp": "rdp",
    "epsilon_training_prv": "prv",
}
_log = logging.getLogger("leakage.defend")


class PrivateTraining:
    """The part of a training that only DP needs, for a `Defend` that calls it hook by hook.

    Args:
        defense: M, with DP in it.
        seed: of the draws.
        steps: taken so far.
    """

    def __init__(self, defense: Defense, seed: int, steps: int = 0) -> None:
        dp = dp_of(defense)
        assert dp is not None
        self.defense, self.dp, self.steps = defense, dp, steps
        self.broken = 0  # records so far that counted as zero
        self._seed = seed
        self._batches: PoissonBatches | None = None
        self._live: LiveRecords | None = None
        self.size = 0  # of the draw that is trained on
        self._released = False
        self._by_hooks, self._compared = True, 0
        self._trainable: set[int] = set()
        self._records = BatchRecords(None, 0)
        self._warned = False
        self._figures: dict[str, float] = {}

    @property
    def batches(self) -> PoissonBatches:
        """How batches are drawn, once the data are known."""
        assert self._batches is not None
        return self._batches

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Refuses what DP cannot train, and lets the loader draw by Poisson; at `setup`."""
        refuse_trainer(trainer, module)
        late = any(is_overridden(hook, module) for hook in ("setup", "configure_model"))
        if trainer.fit_loop._data_source.instance is not module or not late:
            self._draw(trainer)

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """The same for what is there only now: layers, and a loader that the module makes."""
        refuse_layers(module)
        if self._batches is None:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        self._batches = draw_by_poisson(trainer, self.dp.batch, self._seed, lambda: self.steps)
        epochs, most = trainer.max_epochs or -1, trainer.max_steps
        limits = [most, epochs * len(self._batches)]
        limits = [limit for limit in limits if limit >= 0]
        if limits:
            training = Training(self._batches.records, min(limits))
            self.defense = self.defense.settled(training)
        elif self.dp.sigma is None:
            raise LeakageError(
                f"trainer.max_epochs: the noise for epsilon = {self.dp.epsilon:g} follows from the"
                " number of steps, but neither max_epochs nor max_steps says how many there are"
            )
        settled = dp_of(self.defense)
        assert settled is not None
        self.dp = settled

    def begin(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Prepares for the gradients of a batch that `training_step` takes next."""
        self.forget()
        size = self.batches.sizes.pop(self.steps, None)
        if size is None:
            raise LeakageError(
                f"data: the batch of step {self.steps} is none that DP has drawn; let nothing"
                " replace the training DataLoader after Defend"
            )
        self.size, self._released = size, False
        self._records = BatchRecords(batch, size)
        if size == 0:
            return
        if not self._records.told_apart:
            raise LeakageError(
                f"data: {size} records were drawn, but nothing in their batch has {size} entries,"
                " so no record can be told from the others; let a record be one entry of each"
            )
        trainable = {id(p) for p in module.parameters() if p.requires_grad}
        if trainable != self._trainable:  # a layer was frozen, or no longer is
            self._trainable, self._by_hooks, self._compared = trainable, True, 0
        if self._by_hooks and self._compared < _COMPARED:
            self._compare(trainer, module)
        if self._by_hooks:
            self._live = LiveRecords(module)

    def mean(self, module: LightningModule, shared: Tensor) -> Tensor:
        """The mean over the drawn records of what M leaves of each, before noise, (1, p).

        Args:
            module: after the backward pass.
            shared: the gradient (p,) of the batch.
        """
        if self._released:
            raise LeakageError(
                f"model {type(module).__name__}: its optimizer asks for the gradient of a step more"
                " than once, and DP releases it once; use one that does not, such as SGD or Adam"
            )
        self._released = True
        skipped = all(parameter.grad is None for parameter in module.parameters())
        if self.size == 0 or skipped:  # noise alone is released
            self.forget()
            return torch.zeros(1, len(shared))
        layout, mean = Layout.of(module), None
        if self._live is not None:
            mean = self._from_hooks(self._live, module, layout, shared)
            self._live = None
        return self._from_engine(module, layout, shared) if mean is None else mean.cpu()

    def end(self) -> None:
        """A step is over, whether or not `training_step` gave a loss."""
        self.forget()
        self.steps += 1

    def forget(self) -> None:
        """Leaves no trace on the module."""
        if self._live is not None:
            self._live.remove()
            self._live = None

    def figures(self) -> dict[str, float]:
        """What training so far costs: epsilon for one record added or removed, and from what."""
        sigma, q, steps = self._accounted
        told = {"delta": self.dp.delta, "sigma": sigma, "q": q, "steps": float(steps)}
        if not told.items() <= self._figures.items():  # accountants take seconds
            self._figures = told | {
                name: training_epsilon(sigma, q, steps, self.dp.delta, accountant)
                for name, accountant in _ACCOUNTANTS.items()
            }
        return self._figures

    def epsilon(self) -> float:
        """The epsilon of training so far, by the tightest accountant."""
        sigma, q, steps = self._accounted
        return training_epsilon(sigma, q, steps, self.dp.delta)

    @property
    def _accounted(self) -> tuple[float, float, int]:
        assert self.dp.sigma is not None
        return self.dp.sigma, self.batches.q, self.steps

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        sigma, q, steps = self._accounted
        return {"steps": steps, "sigma": sigma, "q": q, "broken": self.broken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint, under the same noise and chances."""
        self.steps, self.broken = state["steps"], state["broken"]
        if self._batches is None:
            return
        sigma, q, _ = self._accounted
        if (state["sigma"], state["q"]) != (sigma, q):
            raise LeakageError(
                f"ckpt_path: training so far was under sigma = {state['sigma']:g} and q ="
                f" {state['q']:g}, and would go on under sigma = {sigma:g} and q = {q:g}; go on"
                " with the same, or no one epsilon holds for all of it"
            )

    def _from_hooks(
        self, live: LiveRecords, module: LightningModule, layout: Layout, shared: Tensor
    ) -> Tensor | None:
        # On CUDA convolutions have the 11 bits of TensorFloat-32.
        coarse = module.dtype == torch.bfloat16 or module.device.type == "cuda"
        coarse = coarse or isinstance(module.trainer.precision_plugin, MixedPrecision)
        try:
            samples = live.collect(self.size)
            reason = samples.contradiction(shared, coarse=coarse)
        except NotByRecordError as error:
            reason = str(error)
        if reason is not None:
            self._leave_hooks(reason)
            return None
        self._warn_of_unused(samples)
        self._count_broken(int((~samples.whole).sum()))
        return samples.mean(self.defense.record_map(layout))

    def _from_engine(self, module: LightningModule, layout: Layout, shared: Tensor) -> Tensor:
        """What the challenger would make of the batch before noise; slower, for any loss."""
        positions = torch.arange(self.size)
        if not shared.isfinite().all():
            positions = positions[self._finite(module, positions)]
            self._count_broken(self.size - len(positions))
        if not len(positions):
            return torch.zeros(1, layout.p)
        engine = engine_of(module, self._records, positions)
        record_map = self.defense.record_map(layout)
        mean = engine.means(positions.unsqueeze(0), torch.Generator(), record_map)
        return mean * (len(positions) / self.size)

    def _finite(self, module: LightningModule, positions: Tensor) -> Tensor:
        with as_written(module):
            loss = Loss(module, module.current_epoch)
        trainable = [p for p in loss.module.parameters() if p.requires_grad]
        plain = Plain(loss, Source(self._records, self._records.take), trainable)
        return torch.stack([plain.gradient(p).isfinite().all() for p in positions.split(1)])

    def _compare(self, trainer: Trainer, module: LightningModule) -> None:
        """Tries the hooks on a copy: whatever they do with layers of anyone's own, ours is safe."""
        plugin = trainer.precision_plugin
        source = Source(self._records, self._records.take, device=module.device)
        with as_written(module):
            loss = Loss(module, module.current_epoch, device=module.device)
        if any(hasattr(part, "_orig_mod") for part in module.modules()) or getattr(
            module, "_compiler_ctx", None
        ):
            reason: str | None = "it is compiled, and hooks would be compiled with it"
        else:
            reason = reason_against_hooks(
                loss,
                source.batch(torch.arange(self.size)),
                self.size,
                lambda positions: engine_of(module, self._records, positions),
                Clip(self.dp.clip),
                plugin.forward_context if isinstance(plugin, MixedPrecision) else None,
            )
        if reason is not None:
            self._leave_hooks(reason)
        elif self.size > 1:
            self._compared += self.size

    def _leave_hooks(self, reason: str) -> None:
        self._by_hooks = False
        _log.info("each record's gradient is computed anew, which is slower: %s", reason)

    def _warn_of_unused(self, samples: Samples) -> None:
        if samples.unused and not self._warned:
            self._warned = True
            _log.warning(
                "the loss does not use %s: their gradient counts as zero",
                ", ".join(samples.unused),
            )

    def _count_broken(self, count: int) -> None:
        if count and not self.broken:
            _log.warning(
                "step %d: the gradients of %d of %d records hold NaN or inf and count as zero; the"
                " end of training tells how many did",
                self.steps,
                count,
                self.size,
            )
        self.broken += count
