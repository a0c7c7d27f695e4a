"""The Dockerfile does what the README says, step by step in folders of this machine, no engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from leakage.data.standins.adult import ADULT

ROOT = Path(__file__).resolve().parent.parent
INSTALL, RUN = "pip install -e .", "python -m leakage fit --config configs/adult.yaml"


@dataclass(frozen=True)
class Step:
    """An instruction, such as `RUN pip install -e .`."""

    name: str
    words: str


def steps(text: str) -> list[Step]:
    """The instructions of a Dockerfile, without comments, each on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Step(name.upper(), words.strip()) for name, words in split]


STEPS = steps((ROOT / "Dockerfile").read_text())


def words_of(name: str) -> list[str]:
    return [step.words for step in STEPS if step.name == name]


def is_sent(path: str) -> bool:
    """Whether a file reaches the engine: the last rule of .dockerignore that names it decides."""
    sent = True
    for rule in (ROOT / ".dockerignore").read_text().split("\n"):
        pattern = rule.removeprefix("!").removeprefix("**/")
        if not pattern or rule.startswith("#"):
            continue
        parts = path.split("/")
        anywhere = range(len(parts)) if rule.startswith("**/") else [0]
        if any(fnmatch.fnmatch(parts[at], pattern) for at in anywhere):
            sent = rule.startswith("!")
    return sent


def copy(step: Step, to: Path) -> None:
    """What COPY copies, of what is sent."""
    *sources, target = step.words.split()
    for source in sources:
        files = [source] if (ROOT / source).is_file() else files_below(source)
        assert files, f"COPY {source}: nothing is there, or .dockerignore leaves it out"
        for file in filter(is_sent, files):
            inside = Path(file).name if len(files) == 1 else Path(file).relative_to(source)
            (to / target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, to / target / inside)


def files_below(folder: str) -> list[str]:
    found = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [str(path.relative_to(ROOT)) for path in found if is_sent(str(path.relative_to(ROOT)))]


def test_the_commands_are_those_of_the_readme() -> None:
    assert f"{INSTALL} && {RUN}" in (ROOT / "README.md").read_text()
    assert INSTALL in words_of("RUN")
    (entry,), (command,) = words_of("ENTRYPOINT"), words_of("CMD")
    shell, flag, script, name = json.loads(entry)
    assert (shell, flag) == ("sh", "-c")
    assert script == 'umask 077 && exec python -m leakage "$@"'
    assert f"python -m {name} {' '.join(json.loads(command))}" == RUN


def test_the_run_is_of_an_ordinary_user_who_alone_can_read_what_it_leaves() -> None:
    names = [step.name for step in STEPS]
    assert words_of("USER") == ["leakage"]
    assert "RUN" not in names[names.index("USER") :]
    (volumes,) = words_of("VOLUME")
    made = next(words for words in words_of("RUN") if words.startswith("useradd"))
    assert f"install --directory --owner leakage --mode 700 {' '.join(json.loads(volumes))}" in made
    assert words_of("WORKDIR") == ["/app"]


def test_arguments_choose_base_and_wheels_and_name_no_registry() -> None:
    assert words_of("ARG") == ["BASE=python:3.11-slim", 'PIP_EXTRA_INDEX_URL=""']
    assert words_of("FROM") == ["${BASE}"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    for name in ("Dockerfile", ".dockerignore"):
        assert not re.search(r"https?://|\w\.(io|com|org)\b", (ROOT / name).read_text())


def test_a_change_of_the_code_installs_nothing_again() -> None:
    at = STEPS.index(Step("RUN", INSTALL))
    before = [step.words for step in STEPS[:at] if step.name == "COPY"]
    assert before == ["pyproject.toml README.md LICENSE ./", "leakage/__init__.py leakage/"]
    assert [step.words for step in STEPS[at:] if step.name == "COPY"] == [
        "leakage leakage",
        "configs configs",
    ]


@pytest.mark.parametrize(
    "path", [".git/config", "data/adult/adult.data", "logs/adult/version_0/attack.csv", ".env"]
)
def test_nothing_private_is_sent(path: str) -> None:
    assert not is_sent(path)
    assert not is_sent(f"leakage/__pycache__/{Path(path).name}")
    assert is_sent("leakage/data/adult.py")


def test_the_steps_make_an_environment_that_runs(tmp_path: Path) -> None:
    """Of packages only the project itself is installed: those it needs are this environment's."""
    image, environment = tmp_path / "app", tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    pip = environment / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{python}" "$@"\n')
    pip.chmod(0o755)
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    outside |= {"PATH": f"{environment}/bin:{os.environ['PATH']}", "PIP_EXTRA_INDEX_URL": ""}
    for step in STEPS:
        if step.name == "COPY":
            copy(step, image)
        elif step.name == "RUN" and step.words.startswith("pip"):
            done = subprocess.run(
                ["sh", "-c", step.words],
                cwd=image,
                env=outside | {"PIP_NO_DEPS": "1", "PIP_RETRIES": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if "No matching distribution found for setuptools" in done.stderr:
                pytest.skip("THE INSTALL LINE OF THE DOCKERFILE WAS NOT RUN: no package index")
            assert done.returncode == 0, done.stderr
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(packages)
    where = subprocess.run(
        ["python", "-c", "import leakage; print(leakage.__file__)"],
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(image / "leakage" / "__init__.py")
    ADULT.write(image / "data" / "adult", size=2000, seed=0)
    short = ["--data.standin_size=2000", "--trainer.limit_train_batches=5", "--attack.rounds=[0]"]
    short += ["--trainer.max_epochs=1", "--attack.adversaries=[LogisticRegression]"]
    short += [f"--attack.{name}=40" for name in ("shadow_batches", "calibrate_batches", "trials")]
    (entry,), (command,) = words_of("ENTRYPOINT"), words_of("CMD")
    done = subprocess.run(
        [*json.loads(entry), *json.loads(command), *short],
        cwd=image,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"written to {Path('logs/adult/version_0')}" in done.stdout
    written = [path for path in (image / "logs").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"attack.csv", "config.yaml", "run.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
