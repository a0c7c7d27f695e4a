"""Checkpoints: whole or not there, for their owner alone, and of the last two epochs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from leakage.writing import write_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint in its own folder and renames it; only its owner can read it.

    Lightning's own goes by way of the system's temporary folder, where a kill leaves it, and which
    may be on another disk, from which nothing is renamed.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        data = io.BytesIO()
        torch.save(checkpoint, data)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), data.getbuffer(), private=True)


class LastTwo(ModelCheckpoint):
    """Writes a checkpoint at the end of each epoch and keeps the last two.

    Two, as the last one may turn out to be unreadable.
    """

    def __init__(self) -> None:
        super().__init__(
            monitor="step",
            mode="max",
            save_top_k=2,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_global_zero and self.dirpath is not None:
            # Lightning forgets some: that which it resumed from, those of a run that was killed.
            found = Path(self.dirpath).glob("epoch=*-step=*.ckpt")
            for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)[:-2]:
                path.unlink()
