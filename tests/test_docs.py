"""What the pages tell a reader to do works: commands parse, and tutorials print what they say."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from pages import PAGES, ROOT, TEXT, blocks, commands, fences

from leakage.cli import main
from leakage.cli.standin import SETS

pytestmark = pytest.mark.usefixtures("process_state")

TUTORIALS = [name for name in PAGES if name.startswith("docs/tutorials/")]
COMMANDS = sorted({" ".join(words): words for words in commands(TEXT)}.items())
PARSED = ("fit", "validate", "test", "audit", "sweep", "report")
# What a reader has, where a page speaks of it.
THEIRS = """
from lightning import LightningDataModule, LightningModule

class Net(LightningModule): ...
class Data(LightningDataModule): ...
"""
CLOSE = 0.05  # another machine rounds otherwise, and a tree then splits elsewhere


def parsed(words: list[str]) -> int | str | None:
    """The exit code of a command that is parsed, and then prints its config in place of running."""
    with pytest.raises(SystemExit) as ended:
        main(words if any("help" in word for word in words) else [*words, "--print_config"])
    return ended.value.code


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


@pytest.mark.parametrize("words", [w for _, w in COMMANDS if w[0] in PARSED], ids=" ".join)
def test_a_command_of_the_pages_parses(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "package.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(ROOT)
    assert not parsed(words)


@pytest.mark.parametrize(
    "words",
    [w for _, w in COMMANDS if w[:2] != ["standin", "--help"] and w[0] == "standin"],
    ids=" ".join,
)
def test_a_stand_in_of_the_pages_is_written(words: list[str], tmp_path: Path) -> None:
    given = dict(zip(words[1::2], words[2::2], strict=True))
    given |= {"--out": str(tmp_path), "--size": str(SETS[given["--set"]].least)}
    main(["standin", *(part for pair in given.items() for part in pair)])
    assert len(list(tmp_path.iterdir())) > 1


def test_no_command_of_the_pages_is_left_out() -> None:
    others = {" ".join(words) for _, words in COMMANDS if words[0] not in (*PARSED, "standin")}
    assert others <= {"--help", "--version", "standin --help", "completion bash"}  # test_help.py
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compared = run_blocks(PAGES[name], {"__name__": "tutorial"})
    assert compared
    for told, printed in compared:
        assert is_told(told, printed), printed


def test_what_would_be_wrong_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """A key, a class, a value and a config that are not there; figures and words that differ."""
    adult = ["fit", "--config", str(ROOT / "configs" / "adult.yaml")]
    for wrong in (
        ["--atack.k", "3"],
        ["--defense", "Sing"],
        ["--attack.k", "x"],
        ["--config", "no"],
    ):
        assert parsed([*adult, *wrong]) == 2
    assert "error: " in capsys.readouterr().err
    assert is_told("a  0.50\nb  1\n", "first\na 0.53\nb  1\n")
    assert not is_told("a  0.50\n", "a  0.56\n")
    assert not is_told("a  0.50\n", "c  0.50\n")
    assert not is_told("a  0.50\n", "")
    text = "```bash\npip install x && python -m leakage fit \\\n  --k '[1, 2]' > f  # why\n```\n"
    assert commands(text) == [["fit", "--k", "[1, 2]"]]
    assert blocks(text, "python") == []
