"""completion: a script that lets a shell complete `leakage` by tab, without starting Python."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser, capture_parser

from leakage.cli.auditing import audit
from leakage.cli.errors import class_keys, class_names, one_sentence, parsed
from leakage.cli.overview import COMMANDS, PROG
from leakage.cli.reporting import report
from leakage.cli.standin import write_standin
from leakage.cli.sweeping import sweep
from leakage.cli.training import train
from leakage.errors import LeakageError

_SCRIPT = "leakage"  # a shell completes names of programs, and no `python -m`
_FILES = {"--config", "--ckpt_path", "--attack.attributes", "--audit.attributes", "--out"}
_CLASSES = ("attack.secret", "data", "defense", "model")  # of which there is one
# What shtab calls FILE; it is imported only where it is needed, since few have it.
_PATHS = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


def write_completion(words: Sequence[str]) -> None:
    """Runs `python -m leakage completion` with these words.

    Raises:
        LeakageError: what is wrong with them, or that shtab is missing.
    """
    parser = ArgumentParser(
        prog=f"{PROG} completion",
        description="Prints a script that completes commands, keys and values of `leakage` by tab:"
        ' eval "$(leakage completion bash)" for one session.',
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="that reads the script")
    shell = parsed(parser, words, lambda told: one_sentence(told, ["shell"])).shell
    try:
        import shtab
    except ModuleNotFoundError:
        said = "completion: it needs the package shtab; `pip install shtab` gets it"
        raise LeakageError(said) from None
    print(shtab.complete(_whole_parser(), shell))


def _whole_parser() -> argparse.ArgumentParser:
    """All commands in one parser of the standard library, with the values that a key can have.

    jsonargparse would follow each class to the classes of its arguments, and theirs, for minutes.
    """
    whole = argparse.ArgumentParser(prog=_SCRIPT)
    commands = whole.add_subparsers()
    runs: dict[str, Callable[[], object]] = {
        "audit": lambda: audit(None),
        "sweep": lambda: sweep([]),
        "report": lambda: report([]),
        "standin": lambda: write_standin([]),
        "completion": lambda: write_completion([]),
    }
    for name, line in COMMANDS.items():
        parser = capture_parser(runs.get(name, lambda: train(None)))
        inner = parser._subcommands_action
        command = commands.add_parser(name, help=line, add_help=False)
        for action in (parser if inner is None else inner.choices[name])._actions:
            _copy(action, command)
    return whole


def _copy(action: argparse.Action, command: argparse.ArgumentParser) -> None:
    """Adds what a shell has to know of a key."""
    flags = [flag for flag in action.option_strings if re.fullmatch(r"-[\w.-]+", flag)]
    if action.help == argparse.SUPPRESS or not (flags or not action.option_strings):
        return
    key = action.dest.removesuffix(".help")
    values = action.choices or class_names(key) or _told_values(action.metavar) or None
    nargs = None if action.nargs is None else "?"
    told = (action.help or "").replace("%", "%%")
    copied = command.add_argument(*(flags or [key]), nargs=nargs, help=told, choices=values)
    if _FILES.intersection(flags):
        copied.complete = _PATHS  # type: ignore[attr-defined]
    # Of all classes, as a shell does not know which of them stands there, and no deeper ones.
    for below in class_keys(key) if key == action.dest and key in _CLASSES else []:
        command.add_argument(f"--{below}", nargs="?", help=f"of a class of {key}")


def _told_values(metavar: object) -> list[str]:
    """The values of a key with few of them, as its help names them: `{known,unknown}`."""
    told = isinstance(metavar, str) and re.fullmatch(r"\{(.+)\}", metavar)
    return told[1].split(",") if told else []
