"""fit, validate, test: LightningCLI with the keys `attack` and `defense` beside model and data."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
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
from leakage.callbacks import Attack, Capture, Defend, Utility  # noqa: F401 - likewise
from leakage.cli.errors import check_checkpoint, check_configs, one_sentence
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError
from leakage.randomness import isolated
from leakage.rules import Game

_ABOUT = (
    "What an observer of shared gradients can infer about the private data."
    " `python -m leakage standin --help` is about made-up data."
)
_BOTTLENECK = "model.init_args.bottleneck"
_log = logging.getLogger("leakage.utility")


class LeakageCLI(LightningCLI):
    """fit, validate and test, with the attack and the defense of the config.

    A defended run ends with its undefended twin: the same command line without the defense, which
    tells what the defense cost. It has no attack, no callbacks and no files.
    """

    _twin: Utility | None = None  # of the run that is one itself

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Game, "attack")
        default = {"class_path": "leakage.defenses.NoDefense"}
        parser.add_subclass_arguments(Defense, "defense", default=default)
        parser.add_argument(
            "--undefended_twin",
            type=bool,
            default=True,
            help="Whether a run with a defense also trains one without it, of the same seed but"
            " without the callbacks of the config, to tell what the defense costs.",
        )
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
        labels = getattr(self.datamodule, "classes", None)
        given = self._get(self.config, "model.init_args.classes")
        if labels is not None and given not in (None, labels):
            raise LeakageError(
                f"model.classes: found {given}, but {type(self.datamodule).__name__} has {labels}"
                f" labels; set it to {labels}"
            )

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if self._twin is not None:
            callbacks.insert(0, self._twin)
            return trainer
        game, defense = (self._get(self.config_init, key) for key in ("attack", "defense"))
        compared = self._costs_utility(defense) and not trainer.fast_dev_run  # type: ignore[attr-defined]
        utility = Utility(self._train_twin if compared else None)
        ours: list[Callback] = [utility, Attack(game, defense)]
        if not isinstance(defense, NoDefense):
            ours.insert(0, Defend(defense, game.seed))
        callbacks[:0] = ours  # a Capture of the config then sees what Defend releases
        return trainer

    def _costs_utility(self, defense: Defense) -> bool:
        """Whether there is a defense to compare with none, and a seed that a twin could have."""
        config = self.config[self.subcommand]
        defended = not isinstance(defense, NoDefense) or config.get(_BOTTLENECK) is not None
        seeded = config["seed_everything"] is not False
        return defended and seeded and bool(config["undefended_twin"])

    def _train_twin(self) -> Utility:
        """Trains the same run without its defense; `Utility` calls it when this run is over.

        Not before it, so that a mistake in this run comes out at once.
        """
        _log.info("training the undefended twin of the same seed, for utility/loss_vs_none")
        twin = copy(self)
        twin._twin, twin.save_config_callback = Utility(), None
        twin.config = self.config.clone()
        twin.config[self.subcommand] = _without_defense(twin.config[self.subcommand])
        seed = twin.config[self.subcommand]["seed_everything"]
        with isolated(seed, self.trainer.strategy.root_device), _quiet(), twin._instantiating(self):
            seed_everything(seed, workers=True, verbose=False)
            twin.instantiate_classes()
            twin.trainer.fit(twin.model, datamodule=twin.datamodule)
        return twin._twin

    @contextmanager
    def _instantiating(self, afterwards: LeakageCLI) -> Iterator[None]:
        """Where modules get the hyperparameters of this config, as `save_hyperparameters` asks."""
        self.__dict__.pop("config_dump", None)
        self._add_instantiators()
        try:
            yield
        finally:
            afterwards._add_instantiators()


def _without_defense(config: Namespace) -> Namespace:
    """The config of a fit, without what defends it and without what it would leave."""
    config["defense"] = Namespace(class_path="leakage.defenses.NoDefense")  # type: ignore[no-untyped-call]
    if config.get(_BOTTLENECK) is not None:
        config[_BOTTLENECK] = None
    config["ckpt_path"] = None
    nothing = {"logger": False, "callbacks": None, "profiler": None}
    nothing |= {"enable_checkpointing": False, "enable_model_summary": False}
    for key, value in nothing.items():
        config[f"trainer.{key}"] = value
    return config


@contextmanager
def _quiet() -> Iterator[None]:
    """Where nothing is told that this run has told already."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "leakage")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def train(args: Sequence[str] | None) -> None:
    """Runs fit, validate or test with these words, or with those of the process."""
    strict = {"exit_on_error": False, "allow_abbrev": False}
    LeakageCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "python -m leakage", "description": _ABOUT, **strict}
        | dict.fromkeys(LightningCLI.subcommands(), strict),
        args=None if args is None else list(args),
    )
