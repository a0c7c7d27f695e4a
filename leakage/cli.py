"""The command line: LightningCLI with the keys `attack` and `defense` beside model and data."""

from __future__ import annotations

import logging
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override

import leakage.data.adult
import leakage.models.tabular  # noqa: F401 - their class names then need no path
from leakage.callbacks import Attack, Capture, Defend  # noqa: F401 - likewise
from leakage.cli_errors import check_checkpoint, check_configs, one_sentence
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError
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

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        game, defense = (self._get(self.config_init, key) for key in ("attack", "defense"))
        ours: list[Callback] = [Attack(game, defense)]
        if not isinstance(defense, NoDefense):
            ours.insert(0, Defend(defense, game.seed))
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = ours  # a Capture of the config then sees what Defend releases
        return trainer


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; what is wrong with the input is one sentence and exit code 2."""
    _set_up_terminal()
    strict = {"exit_on_error": False, "allow_abbrev": False}
    subcommands = LightningCLI.subcommands()
    try:
        LeakageCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "python -m leakage", **strict}
            | dict.fromkeys(subcommands, strict),
            args=None if args is None else list(args),
        )
    except (LeakageError, MisconfigurationException, OSError) as error:  # OSError names its file
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


class _Terminal(logging.Handler):
    """Writes to whatever the standard error is now; a StreamHandler keeps what it was."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _set_up_terminal() -> None:
    """Shows the program's own log, and hides advertisements and warnings about libraries."""
    logger = logging.getLogger("leakage")
    if not logger.handlers:
        logger.addHandler(_Terminal())
    logger.setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
