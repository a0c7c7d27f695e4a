"""Keeps the shared gradients of real steps, as an observer would see them."""

from __future__ import annotations

import json
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from safetensors.torch import save
from torch.optim import Optimizer
from typing_extensions import override

from leakage.callbacks.defend import Defend
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.shared import read_shared_gradient
from leakage.writing import write_whole


class Capture(Callback):
    """Writes the release of optimizer steps to `captures/step_N.safetensors` beside the logs.

    A file holds `gradient`, float32 (p,), and in its metadata the layers with their shapes. It
    is sensitive, so only its owner can read it. Runs after `Defend`.

    Args:
        every: a step is kept if its number, from 0, is a multiple of it.
        limit: the most files that are written.
    """

    def __init__(self, every: int = 1, limit: int = 100) -> None:
        for name, value in (("every", every), ("limit", limit)):
            if value < 1:
                raise LeakageError(f"Capture.{name}: at least 1 is needed, got {value}")
        self._every, self._limit, self._written = every, limit, 0

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        late = [c for c in callbacks[callbacks.index(self) :] if isinstance(c, Defend)]
        if late:
            raise LeakageError(
                "trainer.callbacks: Capture stands before Defend and would keep gradients that are"
                " never shared; put Defend first"
            )

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        step = trainer.global_step
        if step % self._every or self._written >= self._limit:
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "captures"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout = Layout.of(pl_module)
        shapes = {
            name: list(shape) for name, shape in zip(layout.names, layout.shapes, strict=True)
        }
        data = save(
            {"gradient": read_shared_gradient(pl_module).cpu()},
            metadata={"step": str(step), "layers": json.dumps(shapes)},
        )
        write_whole(folder / f"step_{step:07d}.safetensors", data, private=True)
        self._written += 1
