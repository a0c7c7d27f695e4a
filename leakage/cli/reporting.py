"""report: what runs have found, on one page or as JSON, and conditions under which to fail."""

from __future__ import annotations

import logging
import os
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from leakage.cli.errors import one_sentence, parsed
from leakage.cli.overview import PROG
from leakage.errors import LeakageError, nearest
from leakage.reading.gate import condition_of, judge
from leakage.reading.report import report_of
from leakage.reading.schema import SCHEMA, Report
from leakage.reading.serial import as_json
from leakage.writing import write_whole

FAILED, UNSURE = 3, 2
_FORMATS = ("html", "json")
_MARK = SCHEMA.partition("/")[0].encode()
_ABOUT = """\
What runs have found: verdict, frontier, curves and tables on one page, or the same as JSON.

  python -m leakage report logs/adult --out report.html
  python -m leakage report logs/adult/version_0 logs/adult/version_1 --compare
  python -m leakage report logs/adult --format json --fail-if "gain > 0.1"
  python -m leakage report logs/adult --format json --out - | jq .warnings
"""
_FAIL_IF = (
    "a condition under which the exit code is 3, such as 'gain > 0.1', 'low(gain) > 0',"
    " 'high(auroc) >= 0.6', 'epsilon > 4' (of audits: what is proven) or 'test_accuracy < 0.8'; may"
    " be given several times. A metric is that of the strongest adversary that knows of the"
    " defense, in any round. A run that is unfinished, or lacks the metric, is exit code 2"
)
_OUT = "the file, or - for standard output; by default report.FORMAT in the first folder"
_STREAM = "-"
logger = logging.getLogger("leakage.report")


class _Help(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of the examples."""


def report(words: Sequence[str]) -> int:
    """Runs `python -m leakage report` with these words.

    Returns:
        The exit code: 0; 3 where a condition is met; else 2 where one cannot be judged.

    Raises:
        LeakageError: what is wrong with the words, or with a folder.
    """
    given = parsed(_parser(), words, _sentence)
    conditions = [condition_of(text) for text in given.fail_if]
    form, out = _place(given.format, given.out, Path(given.folders[0]))
    found = report_of([Path(folder) for folder in given.folders], given.compare)
    outcome = judge(found, conditions)
    # A name of a folder, or a text of a file, may have letters that UTF-8 does not.
    written = _written(found, form).encode(errors="replace")
    if out is None:
        _print(written)
    else:
        write_whole(out, written)
    many = "1 run" if len(found.runs) == 1 else f"{len(found.runs)} runs"
    logger.info("%s: wrote a report on %s", out or "standard output", many)
    for sentence in found.warnings:
        logger.warning(sentence)
    for sentence in [*outcome.met, *outcome.lacking]:
        logger.error(sentence)
    return FAILED if outcome.met else UNSURE if outcome.lacking else 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"{PROG} report",
        description=_ABOUT,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a file with the arguments below")
    parser.add_argument("folders", nargs="+", help="folders of runs, or above them")
    parser.add_argument("--out", help=_OUT)
    parser.add_argument("--format", help="html, one page, or json; by default the ending of --out")
    parser.add_argument("--fail-if", action="append", default=[], help=_FAIL_IF)
    parser.add_argument("--compare", action="store_true", help="each run less the first one")
    return parser


def _sentence(message: str) -> str:
    apart = re.match(r"unrecognized arguments: ([^-]\S*)", message)
    if apart:
        return f"{apart[1]}: the folders stand side by side, before all options or after them"
    found = re.match(r"unrecognized arguments: --(\S+)", message)
    known = ["out", "format", "fail-if", "compare", "config"]
    if found:
        return f"--{found[1]}: there is no such option; {nearest(found[1], known)}"
    return one_sentence(message, known)


def _place(form: str | None, out: str | None, first: Path) -> tuple[str, Path | None]:
    """The format, and a file that may be written: a new one, an empty one, or a report.

    None in its place is the standard output.
    """
    if form is not None and form not in _FORMATS:
        raise LeakageError(f"--format: there is no format {form!r}; {nearest(form, _FORMATS)}")
    form = form or ("json" if str(out).endswith(".json") else "html")
    if out == _STREAM:
        return form, None
    path = Path(out) if out is not None else first / f"report.{form}"
    if out is not None and not path.parent.is_dir():
        raise LeakageError(f"--out: there is no folder {path.parent}")
    if path.is_dir():
        raise LeakageError(f"--out: {path} is a folder, a file is needed")
    if path.is_file() and (before := path.read_bytes()) and _MARK not in before:
        raise LeakageError(f"--out: {path} is no report of leakage; name another file or delete it")
    return form, path


def _print(data: bytes) -> None:
    """Writes to the standard output, on which nothing else is."""
    stream, rest = sys.stdout.buffer, memoryview(data)
    try:
        while rest:  # without a buffer (PYTHONUNBUFFERED) a part may be written
            rest = rest[stream.write(rest) :]
        stream.flush()
    except OSError as error:
        # What is left in the buffer would fail once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise LeakageError(f"--out: standard output cannot be written: {error.strerror}") from error


def _written(found: Report, form: str) -> str:
    if form == "json":
        return as_json(found)
    from leakage.page import page

    return page(found)
