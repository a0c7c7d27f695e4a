"""Colours of the page can be told from its paper, in light and in dark (WCAG 2.2, AA)."""

from __future__ import annotations

import re
from importlib import resources

import pytest

STYLE = resources.files("leakage.page").joinpath("style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)
SERIES = [f"s{number}" for number in range(6)]


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_has_the_most_contrast() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_are_readable_and_marks_are_visible(theme: dict[str, str]) -> None:
    for ink in ("ink", "muted", "link"):
        for paper in ("paper", "wash"):
            assert contrast(theme[ink], theme[paper]) >= 4.5, (ink, paper)
    assert contrast(theme["warn-ink"], theme["warn-paper"]) >= 4.5
    for mark in [*SERIES, "warn-rule"]:
        assert contrast(theme[mark], theme["paper"]) >= 3, mark
    for mark in ("s0", "muted"):  # what stands on the filled band
        assert contrast(theme[mark], theme["wash"]) >= 3, mark


def test_both_themes_name_the_same_colours_and_no_rule_names_another() -> None:
    assert set(LIGHT) == set(DARK)
    rest = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", rest)
