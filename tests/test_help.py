"""What a reader of the terminal finds: help of every command, whole configs, completion by tab."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pages import ROOT

from leakage import __version__
from leakage.cli import main
from leakage.cli.commands import COMMANDS
from leakage.cli.standin import SETS

ADULT = ["--config", str(ROOT / "configs" / "adult.yaml")]
AUDIT = ["--config", str(ROOT / "configs" / "audits" / "adult.yaml")]
WIDTH = 80


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that ends without a run prints."""
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_the_help_has_a_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("-h", "--help"):
        lines = told(capsys, flag).splitlines()
        assert max(map(len, lines)) <= WIDTH
        for name, line in COMMANDS.items():
            assert f"  {name:10}  {line}" in lines


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--version") == f"leakage {__version__}\n"


def test_a_wrong_or_missing_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "adit")
    assert said.startswith("error: there is no command 'adit'; did you mean 'audit'? Known: fit, ")
    assert refused(capsys).startswith("error: a command is needed: fit, validate, ")
