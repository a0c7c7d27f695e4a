"""What an attack refuses before training: a Trainer whose gradients are not those of the game."""

from __future__ import annotations

from collections.abc import Sequence

from lightning import Callback, LightningModule, Trainer

from leakage.callbacks.defend import Defend
from leakage.callbacks.surroundings import callbacks_of
from leakage.defenses import Defense, NoDefense, bottlenecks, dp_of
from leakage.distributed import check_strategy
from leakage.errors import LeakageError
from leakage.population import CHALLENGE, Population


def check_training(
    trainer: Trainer, module: LightningModule, defense: Defense, *, key: str, named_loss: bool
) -> None:
    """Refuses a defense that training lacks, a training_step that is no loss, ranks that average.

    Args:
        trainer: about to train.
        module: that it trains.
        defense: M.
        key: the part of the config whose game is played.
        named_loss: whether that names L.
    """
    defended = [callback.defense for callback in callbacks_of(trainer, Defend)]
    defended = [other for other in defended if not isinstance(other, NoDefense)]
    undefended = isinstance(defense, NoDefense) or (defense.reads_secret and not defended)
    if defended != ([] if undefended else [defense]):
        found = " and ".join(other.label for other in defended) or "none"
        raise LeakageError(
            f"trainer.callbacks: the {key} is on the defense {defense.label}, but training goes"
            f" through {found}; give Defend and {key.capitalize()} one and the same defense"
        )
    if defense.record_wise and (found_at := bottlenecks(module)):
        raise LeakageError(
            f"model: {found_at[0][0]} is a bottleneck, which draws at random, so that no record has"
            f" a gradient of its own for {defense.label}; leave one of the two out"
        )
    if not module.automatic_optimization and not named_loss:
        raise LeakageError(
            f"model {type(module).__name__}: under manual optimization training_step is no loss;"
            f" set automatic_optimization to True, or name a function in {key}.loss"
        )
    check_strategy(trainer, f"the {key}")
    if trainer.world_size > 1 and key == "audit":
        raise LeakageError(
            f"trainer.devices: the {key} runs in one process, got {trainer.world_size};"
            " set trainer.devices to 1"
        )


def check_reach(trainer: Trainer, rounds: Sequence[int], key: str) -> None:
    """Refuses a round that training ends before; `key` is the part of the config."""
    last, epochs = max(rounds), trainer.max_epochs
    if epochs is not None and 0 <= epochs < last:
        raise LeakageError(
            f"{key}.rounds: round {last} is played after {last} epochs, but trainer.max_epochs is"
            f" {epochs}"
        )


def check_order(trainer: Trainer, attack: Callback) -> None:
    """Refuses what stands before `Defend`, and would see gradients that are never shared."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    late = callbacks_of(trainer, Defend)
    if any(callbacks.index(defend) > callbacks.index(attack) for defend in late):
        raise LeakageError(
            f"trainer.callbacks: {type(attack).__name__} stands before Defend, which finds the"
            " noise that a target epsilon asks for, and releases what is shared; put Defend first"
        )


def check_ranks(trainer: Trainer, population: Population) -> None:
    """Refuses more processes than units of the challenge split: each takes a share of them."""
    units = len(population.units[population.splits[CHALLENGE]].unique())
    if trainer.world_size > units:
        raise LeakageError(
            f"trainer.devices: {trainer.world_size} processes are more than the {units} units of"
            f" the challenge split of {population.name}, of which each takes a share; use at most"
            f" {units}"
        )


def defends(trainer: Trainer, defense: Defense) -> list[Defend]:
    """The callback that trains through a defense, if there is one."""
    return [found for found in callbacks_of(trainer, Defend) if found.defense == defense]


def settled_defense(trainer: Trainer, defense: Defense) -> Defense:
    """The defense as training has settled it: the noise that follows from a target."""
    found = defends(trainer, defense)
    return found[0].settled if found else defense


def is_settled(defense: Defense) -> bool:
    """Whether the noise of DP is known, as it is without DP."""
    dp = dp_of(defense)
    return dp is None or dp.sigma is not None


def defense_label(module: LightningModule, defense: Defense) -> str:
    """What tables call the defense: bottlenecks of the model, and M."""
    parts = [found.settings.label for _, found in bottlenecks(module)]
    if not parts or not isinstance(defense, NoDefense):
        parts.append(defense.label)
    return " + ".join(parts)
