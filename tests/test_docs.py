"""Tutorials print what they say."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from pages import PAGES, fences

pytestmark = pytest.mark.usefixtures("process_state")

TUTORIALS = [name for name in PAGES if name.startswith("docs/tutorials/")]
CLOSE = 0.05  # another machine rounds otherwise, and a tree then splits elsewhere


def run_blocks(page: str, names: dict[str, object]) -> list[tuple[str, str]]:
    """Runs the Python of a page; what each told output should be, and what was printed."""
    printed, compared = "", []
    for language, content in fences(page):
        if language == "python":
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile(content, "page", "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            compared.append((content, printed))
    return compared


def is_told(told: str, printed: str) -> bool:
    """Whether the output ends as the page says, up to rounding and blanks."""
    number = re.compile(r"-?\d*\.\d+|-?\d+")
    ends = "\n".join(printed.splitlines()[-len(told.splitlines()) :])
    if number.sub("#", told).split() != number.sub("#", ends).split():
        return False
    pairs = zip(number.findall(told), number.findall(ends), strict=True)
    return all(abs(float(a) - float(b)) <= CLOSE * max(1, abs(float(a))) for a, b in pairs)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compared = run_blocks(PAGES[name], {"__name__": "tutorial"})
    assert compared
    for told, printed in compared:
        assert is_told(told, printed), printed


def test_what_would_be_wrong_is_seen() -> None:
    """Figures and words that differ."""
    assert is_told("a  0.50\nb  1\n", "first\na 0.53\nb  1\n")
    assert not is_told("a  0.50\n", "a  0.56\n")
    assert not is_told("a  0.50\n", "c  0.50\n")
    assert not is_told("a  0.50\n", "")
