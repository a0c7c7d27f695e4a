"""What fit and audit share: LightningCLI with the key `defense`, and errors of one sentence."""

from __future__ import annotations

import sys
from argparse import ArgumentError
from collections.abc import Sequence
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override

import leakage.data.adult
import leakage.data.celeba
import leakage.data.crema_d
import leakage.data.health
import leakage.data.utkface
import leakage.models.audio
import leakage.models.image
import leakage.models.tabular  # noqa: F401 - their class names then need no path
from leakage.callbacks import Audit, Capture  # noqa: F401 - likewise
from leakage.cli.errors import check_checkpoint, check_configs, one_sentence
from leakage.defenses import Defense
from leakage.errors import LeakageError


class DefendedCLI(LightningCLI):
    """A command line with a defense beside model, data and trainer.

    Attributes:
        played: the part of the config that says what is played, whose seed is that of all.
    """

    played: str

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        default = {"class_path": "leakage.defenses.NoDefense"}
        parser.add_subclass_arguments(Defense, "defense", default=default)
        for seed in (f"{self.played}.seed", "data.init_args.seed"):
            parser.link_arguments("seed_everything", seed, compute_fn=int)
        parser.link_arguments(
            "data.in_features", "model.init_args.in_features", apply_on="instantiate"
        )

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        check_configs(sys.argv[1:] if args is None else args)
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            keys = [
                key
                for subparser in self._subcommand_parsers.values()
                for key in subparser.get_defaults().keys()  # noqa: SIM118 - a Namespace
            ]
            raise LeakageError(one_sentence(str(error), keys)) from None
        seed = self.config[self.config["subcommand"]]["seed_everything"]
        if not 0 <= seed < 2**32:
            raise LeakageError(f"seed_everything: a number from 0 to 2^32 - 1, got {seed}")

    @override
    def instantiate_classes(self) -> None:
        check_checkpoint(self._get(self.config, "ckpt_path"))
        try:
            super().instantiate_classes()
        except ValueError as error:  # the parser wraps what a constructor of model or data raises
            raise LeakageError(one_sentence(str(error), [])) from error
        labels = getattr(self.datamodule, "classes", None)
        given = self._get(self.config, "model.init_args.classes")
        if labels is not None and given not in (None, labels):
            raise LeakageError(
                f"model.classes: found {given}, but {type(self.datamodule).__name__} has {labels}"
                f" labels; set it to {labels}"
            )


def run(
    cli: type[DefendedCLI], about: str, args: Sequence[str] | None, trainer: type[Trainer] = Trainer
) -> None:
    """Runs a command line with these words, or with those of the process."""
    strict = {"exit_on_error": False, "allow_abbrev": False}
    cli(
        LightningModule,
        LightningDataModule,
        trainer_class=trainer,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "python -m leakage", "description": about, **strict}
        | dict.fromkeys(cli.subcommands(), strict),
        args=None if args is None else list(args),
    )
