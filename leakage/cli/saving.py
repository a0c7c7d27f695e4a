"""The config of a run beside its figures, and whether there is a place for them at all."""

from __future__ import annotations

import os
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.writing import remove_parts, write_whole


class SaveConfig(SaveConfigCallback):
    """Writes config.yaml whole; of a run that was killed it replaces it, and removes the parts."""

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = trainer.log_dir  # which all ranks have to ask for
        if self.already_saved or folder is None or not trainer.is_global_zero:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        remove_parts(Path(folder))
        config = self.parser.dump(self.config, skip_none=False)
        write_whole(Path(folder) / self.config_filename, config)
        self.already_saved = True


def check_log_folder(trainer: Trainer) -> None:
    """Refuses a folder for the logs that cannot be written to, before anything is done for it."""
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger | TensorBoardLogger):
            continue
        folder = Path(logger.log_dir)
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise LeakageError(
                f"trainer.logger.save_dir: {there} is a file, and {folder} would be a folder in it"
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise LeakageError(
                f"trainer.logger.save_dir: {there} cannot be written to, and logs go to {folder}"
            )
