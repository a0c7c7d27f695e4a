"""completion: a script that lets a shell complete `leakage` by tab, without starting Python."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal

from jsonargparse import ArgumentParser, capture_parser

from leakage.cli.auditing import audit
from leakage.cli.commands import COMMANDS, PROG
from leakage.cli.errors import one_sentence
from leakage.cli.standin import write_standin
from leakage.cli.training import train
from leakage.errors import LeakageError

Shell = Literal["bash", "zsh", "tcsh"]
_SCRIPT = "leakage"  # a shell completes names of programs, and no `python -m`


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
    )
    parser.add_argument("shell", type=Shell, help="the shell that reads the script")
    try:
        shell: Shell = parser.parse_args(list(words)).shell
    except ArgumentError as error:
        raise LeakageError(one_sentence(str(error), ["shell"])) from None
    if find_spec("shtab") is None:
        raise LeakageError("completion: it needs the package shtab; `pip install shtab` gets it")
    print(whole_parser().get_completion_script(f"shtab-{shell}"))


def whole_parser() -> ArgumentParser:
    """All commands in one parser; each is parsed by one of its own."""
    lines: list[tuple[str, Callable[[Sequence[str]], None]]] = [
        *((name, train) for name in ("fit", "validate", "test")),
        ("audit", audit),
        ("standin", write_standin),
        ("completion", write_completion),
    ]
    whole = ArgumentParser(prog=_SCRIPT)
    subcommands = whole.add_subcommands()
    for name, run in lines:
        parser = capture_parser(run, [])
        inner = parser._subcommands_action
        subcommands.add_subcommand(
            name, parser if inner is None else inner.choices[name], help=COMMANDS[name]
        )
    return whole
