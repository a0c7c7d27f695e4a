"""What training under DP refuses before its first step: what no accountant could answer for."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from leakage.errors import LeakageError


def refuse_trainer(trainer: Trainer, module: LightningModule) -> None:
    """Refuses settings of a Trainer that change who is drawn, or what is released."""
    if not module.automatic_optimization:
        raise LeakageError(
            f"model {type(module).__name__}: DP releases one gradient a batch, but under manual"
            " optimization training_step steps by itself; set automatic_optimization to True"
        )
    limit = trainer.limit_train_batches
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        raise LeakageError(
            "trainer.overfit_batches: DP draws from all records in every step, found"
            f" {trainer.overfit_batches}; leave it out"  # type: ignore[attr-defined]
        )
    if not trainer.fast_dev_run and not (isinstance(limit, float) and limit == 1):  # type: ignore[attr-defined]
        raise LeakageError(
            "trainer.limit_train_batches: DP counts the steps of whole epochs, found"
            f" {limit}; leave it out, and set trainer.max_steps instead"
        )
    reload: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    if reload:
        raise LeakageError(
            "trainer.reload_dataloaders_every_n_epochs: DP draws from the same records in all of"
            f" training, found {reload}; leave it out"
        )
    if str(trainer.precision).startswith(("16", "transformer-engine-float16")):
        raise LeakageError(
            f"trainer.precision: under {trainer.precision} the gradients of the records decide"
            " whether a step is taken, which DP does not answer for; use bf16-mixed or 32-true"
        )


def refuse_layers(module: nn.Module) -> None:
    """Refuses layers that mix the records of a batch, by their path."""
    for name, layer in module.named_modules():
        if not layer.training:  # frozen statistics are numbers as others
            continue
        place = f"model: {name or type(module).__name__} is a {type(layer).__name__}"
        if isinstance(layer, _BatchNorm):
            raise LeakageError(
                f"{place}, which mixes the records of a batch, so none has a gradient of its own;"
                f" put torch.nn.GroupNorm(1, {layer.num_features}) in its place"
            )
        if isinstance(layer, _InstanceNorm) and layer.track_running_stats:
            raise LeakageError(
                f"{place} that keeps statistics of the records, which DP does not hide; set its"
                " track_running_stats to False"
            )
