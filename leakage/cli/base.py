"""What fit and audit share: LightningCLI with the key `defense`, and errors of one sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from jsonargparse._actions import _ActionHelpClassPath
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
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
from leakage.callbacks.checkpoints import LastTwo
from leakage.callbacks.resume import Resume
from leakage.cli.errors import check_configs, one_sentence, parsed
from leakage.cli.overview import PROG, described
from leakage.cli.resuming import check_checkpoint, check_config, find_checkpoint
from leakage.cli.saving import SaveConfig, check_log_folder
from leakage.defenses import Bottleneck, Defense
from leakage.errors import LeakageError


class DefendedCLI(LightningCLI):
    """A command line with a defense beside model, data and trainer.

    Attributes:
        played: the part of the config that says what is played, whose seed is that of all.
    """

    played: str

    @override
    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        default = {"class_path": "leakage.defenses.NoDefense"}
        parser.add_subclass_arguments(Defense, "defense", default=default)
        super().add_core_arguments_to_parser(parser)  # whose help is the longest, and comes last

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for seed in (f"{self.played}.seed", "data.init_args.seed"):
            parser.link_arguments("seed_everything", seed, compute_fn=int)
        parser.link_arguments(
            "data.in_features", "model.init_args.in_features", apply_on="instantiate"
        )
        # The parser makes helps of keys, and this one is of a model that it does not know yet.
        settings = _ActionHelpClassPath(typehint=Bottleneck)  # type: ignore[no-untyped-call]
        parser.add_argument("--model.bottleneck.help", action=settings)

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        check_configs(sys.argv[1:] if args is None else args)
        self.config = parsed(parser, args, self._sentence)
        seed = self.config[self.config["subcommand"]]["seed_everything"]
        if not 0 <= seed < 2**32:
            raise LeakageError(f"seed_everything: a number from 0 to 2^32 - 1, got {seed}")

    def _sentence(self, told: str) -> str:
        """Of what the parser says, with all keys of all commands."""
        keys = [
            key
            for subparser in self._subcommand_parsers.values()
            for key in subparser.get_defaults().keys()  # noqa: SIM118 - a Namespace
        ]
        return one_sentence(told, keys)

    @override
    def _parse_ckpt_path(self) -> None:
        """Lets no hyperparameters of a checkpoint take the place of the config."""

    @override
    def before_instantiate_classes(self) -> None:
        check_checkpoint(self._get(self.config, "ckpt_path"))

    @override
    def after_instantiate_classes(self) -> None:
        fits = self.subcommand in ("fit", self.played)
        asked = self._get(self.config, "ckpt_path")
        found = find_checkpoint(self.trainer, asked, fits=fits)
        if found is not None:
            check_config(found, self._described, fits=fits)
        if asked is not None and "://" not in asked:
            path = None if found is None else str(found.path)
            self.config_init[self.subcommand]["ckpt_path"] = path
        check_log_folder(self.trainer)

    @property
    def _described(self) -> dict[str, Any]:
        """The parts of the config that decide what comes out, as plain values."""
        parser, config = self._parser(self.subcommand), self.config[self.subcommand]
        dump: str = parser.dump(config, skip_link_targets=False, skip_none=False)
        told = yaml.safe_load(dump)
        parts = ("seed_everything", *("model", "data", "defense", "optimizer", "lr_scheduler"))
        return {part: told[part] for part in (*parts, self.played) if part in told}

    def _resume(self) -> Resume:
        return Resume(json.dumps(self._described))

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        given, plugins = _listed(config["callbacks"]), _listed(config["plugins"])
        named = any(isinstance(callback, ModelCheckpoint) for callback in given)
        if not named and config["enable_checkpointing"] is not False and not config["barebones"]:
            kwargs["callbacks"] = [*given, LastTwo()]
        # Lightning would requeue in the midst of a step, and take up its checkpoint in any later
        # job: Requeue does it for a fit, nobody for the rest.
        if SLURMEnvironment.detect() and not any(
            isinstance(p, ClusterEnvironment) for p in plugins
        ):
            kwargs["plugins"] = [*plugins, SLURMEnvironment(auto_requeue=False)]
        return super().instantiate_trainer(**kwargs)

    @override
    def instantiate_classes(self) -> None:
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


Line = TypeVar("Line", bound=DefendedCLI)


def _listed(given: Any) -> list[Any]:
    """What a config names as one, as several or not at all."""
    return given if isinstance(given, list) else [] if given is None else [given]


def run(cli: type[Line], args: Sequence[str] | None, trainer: type[Trainer] = Trainer) -> Line:
    """Runs a command line with these words, or with those of the process."""
    strict = {"exit_on_error": False, "allow_abbrev": False}
    return cli(
        LightningModule,
        LightningDataModule,
        trainer_class=trainer,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_callback=SaveConfig,
        parser_kwargs={"prog": PROG, **strict}
        | {name: {**strict, **described(name)} for name in cli.subcommands()},
        args=None if args is None else list(args),
    )
