"""The command line: LightningCLI with the keys `attack` and `defense` beside model and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override

import leakage.data.adult
import leakage.models.tabular  # noqa: F401 - their class names then need no path
from leakage.callbacks import Attack, Defend
from leakage.defenses import Defense, NoDefense
from leakage.rules import Game


class LeakageCLI(LightningCLI):
    """fit, validate and test, with the attack and the defense of the config."""

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Game, "attack")
        default = {"class_path": "leakage.defenses.NoDefense"}
        parser.add_subclass_arguments(Defense, "defense", default=default)
        for seed in ("attack.seed", "data.init_args.seed"):
            parser.link_arguments("seed_everything", seed, compute_fn=int)
        parser.link_arguments(
            "data.in_features", "model.init_args.in_features", apply_on="instantiate"
        )

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        game, defense = (
            self._get(self.config_init, "attack"),
            self._get(self.config_init, "defense"),
        )
        ours: list[Callback] = [Attack(game, defense)]
        if not isinstance(defense, NoDefense):
            ours.insert(0, Defend(defense, game.seed))
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = ours  # a Capture of the config then sees what Defend releases
        return trainer


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    LeakageCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        args=None if args is None else list(args),
    )
