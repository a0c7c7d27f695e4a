"""standin: writes made-up files in the official layout of a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from leakage.cli.errors import one_sentence, parsed
from leakage.cli.overview import PROG
from leakage.data.standins.adult import ADULT
from leakage.data.standins.celeba import CELEBA
from leakage.data.standins.crema_d import CREMA_D
from leakage.data.standins.health import HEALTH
from leakage.data.standins.utkface import UTKFACE
from leakage.errors import LeakageError, nearest

logger = logging.getLogger("leakage.data")

SETS = {
    "adult": ADULT,
    "health": HEALTH,
    "crema_d": CREMA_D,
    "celeba": CELEBA,
    "utkface": UTKFACE,
}


def write_standin(words: Sequence[str]) -> None:
    """Runs `python -m leakage standin` with these words.

    Raises:
        LeakageError: what is wrong with them, or with the folder.
    """
    parser = ArgumentParser(
        prog=f"{PROG} standin",
        description="Writes made-up files in the official layout of a data set, as configs with"
        f" `data.standin: true` do by themselves: {PROG} standin --set adult --out data/adult"
        " --size 2000",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--set", required=True, help=f"the data set: {', '.join(SETS)}")
    parser.add_argument("--out", required=True, help="the folder, new or a stand-in")
    parser.add_argument("--seed", type=int, default=0, help="of what is made up")
    units = ", ".join(f"{made.unit} ({name}, {made.least} or more)" for name, made in SETS.items())
    parser.add_argument("--size", type=int, required=True, help=f"how many: {units}")
    keys = ["set", "out", "seed", "size"]
    given = parsed(parser, words, lambda told: one_sentence(told, keys))
    if given.set not in SETS:
        raise LeakageError(f"--set: there is no set {given.set!r}; {nearest(given.set, SETS)}")
    out = Path(given.out)
    if out.exists() and not out.is_dir():
        raise LeakageError(f"--out: {out} is a file, a folder is needed")
    if not 0 <= given.seed < 2**32:
        raise LeakageError(f"--seed: a number from 0 to 2^32 - 1, got {given.seed}")
    made = SETS[given.set]
    made.write(out, size=given.size, seed=given.seed, key="--size")
    logger.info("%s: wrote a stand-in of %s, %d %s", out, made.name, given.size, made.unit)
