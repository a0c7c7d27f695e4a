"""The config of a command line, checked as far as can be without playing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from leakage.cli.auditing import AuditCLI, AuditTrainer
from leakage.cli.base import DefendedCLI, run
from leakage.cli.errors import one_sentence
from leakage.cli.training import LeakageCLI
from leakage.errors import LeakageError


@dataclass(frozen=True)
class Resolved:
    """What a command line comes to.

    Args:
        text: all of its settings, as YAML that `--config` takes.
        told: the same as plain values, with those that follow from others.
        data: the data module, not prepared.
    """

    text: str
    told: dict[str, Any]
    data: LightningDataModule


class _Resolver(DefendedCLI):
    """A command line that is only read, any number of times; nothing is written or trained."""

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = Namespace(subcommand=None)  # type: ignore[no-untyped-call]

    @override
    def _set_seed(self) -> None: ...

    @override
    def before_instantiate_classes(self) -> None: ...

    @override
    def instantiate_classes(self) -> None: ...

    @override
    def after_instantiate_classes(self) -> None: ...

    def resolve(self, words: Sequence[str]) -> Resolved:
        """Parses a command line and builds what it names, which refuses what is out of range."""
        super().parse_arguments(self.parser, list(words))
        name = self.config["subcommand"]
        parser, config = self._parser(name), self.config[name]
        try:
            built = self.parser.instantiate_classes(self.config)[name]
        except ValueError as error:  # the parser wraps what a constructor raises
            raise LeakageError(one_sentence(str(error), [])) from error
        told = yaml.safe_load(parser.dump(config, skip_link_targets=False, skip_none=False))
        return Resolved(parser.dump(config, skip_none=False), told, built["data"])


class _FitResolver(_Resolver, LeakageCLI): ...


class _AuditResolver(_Resolver, AuditCLI): ...


def resolver_of(command: str) -> Callable[[Sequence[str]], Resolved]:
    """Reads command lines of `fit` or of `audit`; the parser, which takes long, is made once.

    Whoever calls what it returns gets a LeakageError for what no run would take.
    """
    if command == "audit":
        return run(_AuditResolver, [], AuditTrainer).resolve
    return run(_FitResolver, []).resolve
