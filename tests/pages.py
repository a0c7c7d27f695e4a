"""README and the pages of docs/, and what is fenced in them."""

from __future__ import annotations

import re
import shlex
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
TEXT = "\n".join(PAGES.values())
OURS = (["python", "-m", "leakage"], ["leakage"])


def fences(text: str) -> list[tuple[str, str]]:
    """The language and the contents of each fenced block, in order."""
    return re.findall(r"^```([\w-]*)[^\n]*\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of the fenced blocks in some languages."""
    return [content for language, content in fences(text) if language in languages]


def commands(text: str) -> list[list[str]]:
    """The words after `python -m leakage`, or after `leakage`, of each command in a bash block."""
    found = []
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|>")
            lexer.whitespace_split = True
            for ends, part in groupby(lexer, key=lambda word: word in ("&&", "|", ">")):
                words = [] if ends else list(part)
                found += [words[len(own) :] for own in OURS if words[: len(own)] == own]
    return found
