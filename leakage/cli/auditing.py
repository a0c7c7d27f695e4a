"""audit: bounds the privacy loss of M from below, at the weights that training reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from leakage.audit.rules import AuditRules
from leakage.callbacks import Audit, Defend
from leakage.cli.base import DefendedCLI, run
from leakage.defenses import NoDefense


class AuditTrainer(Trainer):
    """A Trainer that trains no further than an audit looks."""

    def fit_and_audit(
        self, model: Any, datamodule: Any = None, ckpt_path: str | None = None
    ) -> None:
        """Trains until the last observed round.

        Args:
            model: whose gradients are released.
            datamodule: has the records.
            ckpt_path: a checkpoint to go on from.
        """
        self.fit(model, datamodule=datamodule, ckpt_path=ckpt_path)

    audit = fit_and_audit  # the parser would name a group of arguments as it names the rules


class AuditCLI(DefendedCLI):
    """audit, with the rules and the defense of the config."""

    played = "audit"

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        return {"audit": {"model", "datamodule"}}

    @override
    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(AuditRules, "audit")
        super().add_core_arguments_to_parser(parser)

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        rules, defense = (self._get(self.config_init, key) for key in ("audit", "defense"))
        ours: list[Callback] = [self._resume(), Audit(rules, defense, stops=True)]
        if not isinstance(defense, NoDefense):
            ours.insert(1, Defend(defense, rules.seed))
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = ours
        return trainer


def audit(args: Sequence[str] | None) -> None:
    """Runs audit with these words, or with those of the process."""
    run(AuditCLI, args, AuditTrainer)
