"""README, CONTRIBUTING and the pages of docs/: what is fenced in them, and their commands."""

from __future__ import annotations

import re
import shlex
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "CONTRIBUTING.md",
    ]
}
TEXT = "\n".join(PAGES.values())
OURS = (["python", "-m", "leakage"], ["leakage"])
BETWEEN = ("&&", "|", ">", ">>")
FENCE = r"^```([\w-]*)[^\n]*\n(.*?)^```\s*$"
# What a span within a sentence begins with if it is a command: other spans are keys, files, values.
PROGRAMS = (
    *("leakage", "python", "pip", "pytest", "npm", "mkdocs", "docker", "sbatch", "tensorboard"),
    "tests/slurm/unpack",
)


def fences(text: str) -> list[tuple[str, str]]:
    """The language and the contents of each fenced block, in order."""
    return re.findall(FENCE, text, re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of the fenced blocks in some languages."""
    return [content for language, content in fences(text) if language in languages]


def shell_commands(text: str) -> list[list[str]]:
    """The words of each command of the bash blocks, then of each one within a sentence."""
    lines = [
        line for block in blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()
    ]
    prose = re.sub(FENCE, "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    found = [words for line in lines for words in _parts(line)]
    return found + [
        words
        for span in spans
        if _program(span.split()) in PROGRAMS
        for words in _parts(span)
        if not _is_name(words)
    ]


def commands(text: str) -> list[list[str]]:
    """The words after `python -m leakage`, or after `leakage`, of each command."""
    return [ours for words in shell_commands(text) if (ours := _ours(words)) is not None]


def others(text: str) -> list[str]:
    """All commands of other programs."""
    return [" ".join(words) for words in shell_commands(text) if _ours(words) is None]


def _parts(line: str) -> list[list[str]]:
    """The words of each command of a line; a file that it writes to is none."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|>")
    lexer.whitespace_split = True
    parts = [list(part) for _, part in groupby(lexer, key=lambda word: word in BETWEEN)]
    return [
        part
        for before, part in zip([[""], *parts], parts, strict=False)
        if part[0] not in BETWEEN and not before[0].startswith(">")
    ]


def _is_name(words: list[str]) -> bool:
    """Whether they are a program, or a command of ours, that a sentence speaks of."""
    ours = _ours(words)
    said = words if ours is None else ours
    return not said or (len(said) == 1 and not said[0].startswith("-"))


def _program(words: list[str]) -> str:
    return next((word for word in words if "=" not in word), "")


def _ours(words: list[str]) -> list[str] | None:
    return next((words[len(own) :] for own in OURS if words[: len(own)] == own), None)
