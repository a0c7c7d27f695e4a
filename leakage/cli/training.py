"""fit, validate, test: LightningCLI with the keys `attack` and `defense` beside model and data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from jsonargparse import Namespace
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from leakage.callbacks import Attack, Defend, Requeue, Utility
from leakage.callbacks.requeue import Follow
from leakage.cli.base import DefendedCLI, run
from leakage.defenses import Defense, NoDefense
from leakage.distributed import Clients, check_strategy
from leakage.randomness import isolated
from leakage.rules import Game

_ABOUT = (
    "What an observer of shared gradients can infer about the private data."
    " `python -m leakage audit --help` is about the privacy loss that can be proved,"
    " `python -m leakage sweep --help` about many runs, `python -m leakage standin --help` about"
    " made-up data."
)
_BOTTLENECK = "model.init_args.bottleneck"
_log = logging.getLogger("leakage.utility")


class LeakageCLI(DefendedCLI):
    """fit, validate and test, with the attack and the defense of the config.

    A defended run ends with its undefended twin: the same command line without the defense, which
    tells what the defense cost. It has no attack, no callbacks and no files.
    """

    played = "attack"
    _twin: Utility | None = None  # of the run that is one itself

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Game, "attack")
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--undefended_twin",
            type=bool,
            default=True,
            help="Whether a run with a defense also trains one without it, of the same seed but"
            " without the callbacks of the config, to tell what the defense costs.",
        )

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        if self._has_ranks():
            kwargs["strategy"] = Clients()
        trainer = super().instantiate_trainer(**kwargs)
        if self.subcommand == "fit":
            check_strategy(trainer, "the attack")  # before other ranks are started
        callbacks = _callbacks_of(trainer)
        if self._twin is not None:
            callbacks.insert(0, self._twin)
            return trainer
        game, defense = (self._get(self.config_init, key) for key in ("attack", "defense"))
        compared = self._costs_utility(defense) and not trainer.fast_dev_run  # type: ignore[attr-defined]
        utility = Utility(self._train_twin if compared else None)
        ours: list[Callback] = [self._resume(), utility, Attack(game, defense)]
        if not isinstance(defense, NoDefense):
            ours.insert(1, Defend(defense, game.seed))
        if self.subcommand == "fit":
            callbacks.append(Requeue())  # after the checkpoints
        callbacks[:0] = ours  # a Capture of the config then sees what Defend releases
        return trainer

    def _has_ranks(self) -> bool:
        """Whether several processes train where nothing says how, which becomes one client each."""
        asked = self._get(self.config_init, "trainer")
        alone = str(asked["devices"]) == "1" and asked["num_nodes"] == 1
        if alone or asked["strategy"] not in ("auto", "ddp"):
            return False
        names = ("accelerator", "devices", "num_nodes", "strategy", "plugins")
        kept: dict[str, Any] = {name: asked[name] for name in names}
        with _quiet():
            tried = Trainer(
                **kept, logger=False, enable_checkpointing=False, enable_progress_bar=False
            )
        return tried.world_size > 1

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
            _callbacks_of(twin.trainer).append(Follow(self.trainer))
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


def _callbacks_of(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]


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
    run(LeakageCLI, _ABOUT, args)
