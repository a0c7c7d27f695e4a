"""What the program can do: one line for each command, for `python -m leakage --help`."""

from __future__ import annotations

from collections.abc import Sequence

from leakage import __version__
from leakage.errors import LeakageError, nearest

PROG = "python -m leakage"
COMMANDS = {
    "fit": "train a model; tell what gradients leak and what a defense costs",
    "validate": "tell the utility of a checkpoint on the validation records",
    "test": "tell the utility of a checkpoint on the test records",
    "audit": "prove from below how much privacy the releases of a defense lose",
    "sweep": "play fit or audit over a grid of settings, and join their figures",
    "report": "put what runs have found on one page, or fail where it is too much",
    "standin": "write made-up files in the official layout of a data set",
    "completion": "print a script that completes commands, keys and values by tab",
}
# Their parser takes options before the command, too.
_OF_LIGHTNING = {"fit", "validate", "test"}

_ABOUT = """\
usage: {prog} COMMAND [options]

Tells what an honest-but-curious observer of shared gradients can infer about
the private data, under which defense, and at which price.

commands:
{commands}

options:
  -h, --help  print this text
  --version   print the version

`{prog} COMMAND --help` lists the keys of a command,
`{prog} fit --defense.help DP` those of a class. Start with
`{prog} fit --config configs/adult.yaml`."""


def overview() -> str:
    """The text of `python -m leakage --help`."""
    lines = [f"  {name:10}  {line}" for name, line in COMMANDS.items()]
    return _ABOUT.format(prog=PROG, commands="\n".join(lines))


def described(name: str) -> dict[str, str]:
    """How the help of a command with many keys begins, for its parser."""
    line = COMMANDS[name]
    return {
        "usage": f"{PROG} {name} [--config FILE]... [--KEY VALUE]...",
        "description": f"{line[0].upper()}{line[1:]}. A config holds the same keys, without dashes"
        " and nested at each dot; what comes later on the command line wins.",
    }


def answered(words: Sequence[str]) -> bool:
    """Whether the words ask for no command but for help or the version, which is then printed.

    Args:
        words: of the command line.

    Raises:
        LeakageError: the first word is no command.
    """
    first = words[0] if words else ""
    if first in ("-h", "--help"):
        print(overview())
    elif first == "--version":
        print(f"leakage {__version__}")
    elif not first:
        raise LeakageError(
            f"a command is needed: {', '.join(COMMANDS)}; `{PROG} --help` tells more"
        )
    elif first.startswith("-") and not _OF_LIGHTNING & set(words):
        raise LeakageError(
            f"{first}: a command stands first ({', '.join(COMMANDS)}), its options after it"
        )
    elif not first.startswith("-") and first not in COMMANDS:
        raise LeakageError(f"there is no command {first!r}; {nearest(first, COMMANDS)}")
    else:
        return False
    return True
