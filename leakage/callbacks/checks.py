"""What an attack refuses before training: a Trainer whose gradients are not those of the game."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from leakage.callbacks.defend import Defend
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError


def check_training(trainer: Trainer, module: LightningModule, defense: Defense) -> None:
    """Refuses a defense that training lacks, many processes, and batches that hooks change."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    defended = [c.defense for c in callbacks if isinstance(c, Defend)]
    defended = [other for other in defended if not isinstance(other, NoDefense)]
    if defended != ([] if isinstance(defense, NoDefense) else [defense]):
        found = " and ".join(other.label for other in defended) or "none"
        raise LeakageError(
            f"trainer.callbacks: the attack is on the defense {defense.label}, but training goes"
            f" through {found}; give Defend and Attack one and the same defense"
        )
    if not module.automatic_optimization:
        raise LeakageError(
            f"model {type(module).__name__}: under manual optimization training_step is no loss;"
            " set automatic_optimization to True"
        )
    for owner in (module, getattr(trainer, "datamodule", None)):
        for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
            if owner is not None and is_overridden(hook, owner):
                raise LeakageError(
                    f"{type(owner).__name__}.{hook}: it changes batches where the attack does not"
                    " see it; do its work in the data set or in training_step"
                )
    if trainer.world_size > 1:
        raise LeakageError(
            f"trainer.devices: the attack runs in one process, got {trainer.world_size};"
            " set trainer.devices to 1"
        )
