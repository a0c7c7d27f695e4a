"""What a reader of the terminal finds: help of every command, whole configs, completion by tab."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pages import ROOT

from leakage import __version__
from leakage.audit.rules import AuditRules
from leakage.cli import main
from leakage.cli.overview import COMMANDS
from leakage.cli.standin import SETS
from leakage.rules import Game

ADULT = str(ROOT / "configs" / "adult.yaml")
CONFIGS = {
    "fit": ADULT,
    "validate": ADULT,
    "test": ADULT,
    "audit": str(ROOT / "configs" / "audits" / "adult.yaml"),
}
WIDTH = 80
Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def told(capsys: Printed, *words: str) -> str:
    """What a command prints that ends well without a run."""
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            raise
    return capsys.readouterr().out


def refused(capsys: Printed, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_the_help_has_a_line_for_each_command(capsys: Printed) -> None:
    for flag in ("-h", "--help"):
        lines = told(capsys, flag).splitlines()
        assert max(map(len, lines)) <= WIDTH
        start = lines.index("commands:") + 1
        shown = [line.split(maxsplit=1) for line in lines[start : start + len(COMMANDS)]]
        assert shown == [[name, line] for name, line in COMMANDS.items()]


def test_help_and_version_start_at_once() -> None:
    """Without torch and Lightning, whose import takes seconds."""
    for flag, printed in (("--help", "usage: "), ("--version", f"leakage {__version__}\n")):
        code = f"import sys, leakage.cli; leakage.cli.main(['{flag}'])"
        code += "; assert 'torch' not in sys.modules"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(printed)


def test_a_wrong_or_missing_command_is_one_sentence(capsys: Printed) -> None:
    said = refused(capsys, "adit")
    assert said.startswith("error: there is no command 'adit'; did you mean 'audit'? Known: fit, ")
    assert refused(capsys).startswith("error: a command is needed: fit, validate, ")
    for option in ("--config", "--fail-if=gain > 0"):  # options before their command
        said = refused(capsys, option, "grid.yaml", "sweep")
        assert said.startswith(f"error: {option}: a command stands first (fit, validate, ")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_help_of_a_command_has_all_of_its_keys_and_ours_first(
    name: str, capsys: Printed
) -> None:
    text = told(capsys, name, "--help")
    assert text.startswith(f"usage: python -m leakage {name} [--config FILE]... [--KEY VALUE]...\n")
    begins = " ".join(text.split("options:")[0].split())
    assert f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}." in begins
    part, rules = ("audit", AuditRules) if name == "audit" else ("attack", Game)
    keys = [f"{part}.{rule.name}" for rule in fields(rules)]
    lines = [line.strip() for line in text.splitlines()]
    heads = {line.split()[0].rstrip(",") for line in lines if line.startswith("--")}
    linked = {line.split()[2] for line in lines if " --> " in line}
    assert [key for key in keys if f"--{key}" not in heads and key not in linked] == []
    assert {"--model", "--data", "--defense", "--print_config", "--ckpt_path"} <= heads
    order = [text.index(f"\n  --{key} ") for key in (keys[0], "defense", "trainer.accelerator")]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["sweep", "standin", "completion"])
def test_the_help_of_a_small_command_fits_the_terminal(name: str, capsys: Printed) -> None:
    text = told(capsys, name, "--help")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.startswith(f"usage: python -m leakage {name} ")
    if name == "standin":
        assert all(part in text for part in [*SETS, "--set", "--out", "--seed", "--size"])


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        (["--defense.help", "DP"], ["defense.clip", "defense.sigma", "defense.epsilon"]),
        (["--attack.secret.help", "User"], ["attack.secret.candidates"]),
        (["--model.help", "Tabular"], ["model.hidden", "model.bottleneck"]),
        (["--model.bottleneck.help"], ["model.bottleneck.dimension", "model.bottleneck.beta"]),
    ],
)
def test_a_class_has_a_help_of_its_own(
    key: list[str], arguments: list[str], capsys: Printed
) -> None:
    text = told(capsys, "fit", *key)
    assert [name for name in arguments if f"\n  --{name} " not in text] == []


@pytest.mark.parametrize(("name", "config"), CONFIGS.items())
def test_the_printed_config_is_a_config_that_prints_itself(
    name: str, config: str, tmp_path: Path, capsys: Printed
) -> None:
    part = "audit" if name == "audit" else "attack"
    printed = told(capsys, name, "--config", config, f"--{part}.k", "32", "--print_config")
    whole = yaml.safe_load(printed)
    assert whole[part]["k"] == 32
    assert whole["defense"]["class_path"].startswith("leakage.defenses.")
    (tmp_path / "whole.yaml").write_text(printed)
    again = told(capsys, name, "--config", str(tmp_path / "whole.yaml"), "--print_config")
    assert yaml.safe_load(again) == whole


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_leakage; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code, "bash", str(script), "leakage", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout.split()


def test_the_tab_key_completes_commands_keys_classes_values_and_files(
    tmp_path: Path, capsys: Printed
) -> None:
    script = tmp_path / "leakage.bash"
    script.write_text(told(capsys, "completion", "bash"))
    assert completed(script, "") == list(COMMANDS)
    keys = completed(script, "fit", "--config", "x.yaml", "--attack.curve_")
    assert sorted(keys) == ["--attack.curve_clients", "--attack.curve_k"]
    assert completed(script, "fit", "--defense", "Pru") == ["Pruning"]
    assert completed(script, "audit", "--audit.background", "u") == ["unknown"]
    assert completed(script, "fit", "--data.help", "C") == ["CelebA", "CremaD"]
    assert completed(script, "fit", "--defense.cl") == ["--defense.clip"]
    assert "--attack.secret.attribute" in completed(script, "fit", "--attack.secret.")
    assert "--data.seed" not in completed(script, "fit", "--data.s")  # it is decided elsewhere
    assert completed(script, "fit", "--config", "configs/audits/adult_s") == [
        "configs/audits/adult_sampled.yaml"
    ]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_with_the_same_keys(shell: str, capsys: Printed) -> None:
    script = told(capsys, "completion", shell)
    assert all(part in script for part in [*COMMANDS, "attack.curve_k", "audit.background"])


def test_a_missing_package_is_named(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = refused(capsys, "completion", "zsh")
    assert said == "error: completion: it needs the package shtab; `pip install shtab` gets it\n"
    assert "'fsh'" in refused(capsys, "completion", "fsh")
