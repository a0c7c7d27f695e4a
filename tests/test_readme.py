"""What README and the pages of docs/ name is there: configs, keys, pages, code, no private path."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from pages import PAGES, ROOT, TEXT, blocks

import leakage.callbacks
import leakage.cli.commands  # noqa: F401 - so that all classes are known
from leakage.adversaries import Adversary
from leakage.audit.rules import AuditRules
from leakage.defenses import Defense
from leakage.rules import Game
from leakage.secrets import Secret
from leakage.sweep.settings import Sweep

COMMANDS = [
    "pip install -e . && python -m leakage fit --config configs/adult.yaml",
    "pip install -e '.[test]' && pytest",
]
TOP = {"config", "help", "print_config", "seed_everything", "ckpt_path", "version"}
TOP |= {"set", "out", "seed", "size"}  # of `standin`
TOP |= {field.name for field in fields(Sweep)} | {"compare", "format"}  # of `sweep`, `report`
# What a key of a part may be: the arguments of any class that can stand there.
CLASSES: dict[str, Any] = {
    "attack.adversaries": Adversary,
    "attack.secret": Secret,
    "trainer.logger": TensorBoardLogger,
    "data": LightningDataModule,
    "defense": Defense,
    "model": LightningModule,
    "attack": Game,
    "audit": AuditRules,
    "trainer": Trainer,
}


def ours(base: Any) -> Iterator[Any]:
    yield base
    for child in base.__subclasses__():
        if child.__module__.startswith("leakage."):
            yield from ours(child)


def is_known(key: str) -> bool:
    """Whether the command line has the key `attack.k`, `data.root`, `data.init_args.root`, ..."""
    key = key.replace(".init_args", "")
    if "." not in key:
        return key in TOP | set(CLASSES)
    if key.removesuffix(".help") in CLASSES:
        return True
    section = next((part for part in CLASSES if key.startswith(f"{part}.")), None)
    if section is None:
        return False
    argument = key.removeprefix(f"{section}.").removesuffix(".help")
    return any(argument in inspect.signature(kind).parameters for kind in ours(CLASSES[section]))


def flags(text: str) -> list[str]:
    """The keys after two dashes: those with a dot anywhere, others after our own command."""
    dotted = re.findall(r"(?<![\w-])--(\w+(?:\.\w+)+)", text)
    commands = re.findall(r"python -m leakage[^\n`&|;#]*", text.replace("\\\n", " "))
    return dotted + [
        flag for line in commands for flag in re.findall(r"(?<!\S)--(\w+)(?!\S)", line)
    ]


def private_paths(text: str) -> list[str]:
    names = "|".join(["work", "root", "home"])
    return re.findall(rf"(?<![\w.\-*}}])/(?:{names})(?:/[\w./-]*|\b)", text)


def tracked() -> list[Path]:
    """The files of the repository, those not yet committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: no list of the files that it tracks")
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_for_a_fresh_machine_is_there(command: str) -> None:
    lines = [line for block in blocks(PAGES["README.md"], "bash") for line in block.splitlines()]
    assert command in lines


def test_every_config_that_is_named_exists() -> None:
    named = re.findall(r"configs/[\w./-]+\.ya?ml", TEXT)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_page_that_is_linked_exists() -> None:
    for name, page in PAGES.items():
        linked = re.findall(r"\]\((?!https?:)([^)#]+)", page)
        assert [link for link in linked if not ((ROOT / name).parent / link).is_file()] == []


def test_every_key_that_is_named_exists() -> None:
    named = flags(TEXT)
    assert "config" in named
    assert [key for key in named if not is_known(key)] == []


def test_python_blocks_compile() -> None:
    for block in blocks(TEXT, "python", "py"):
        ast.parse(block)


def test_no_file_names_a_private_path() -> None:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found += [(path.name, p) for p in private_paths(content.decode("utf-8", "replace"))]
    assert found == []


def test_what_would_be_wrong_is_seen() -> None:
    text = (
        "x\n```bash\npython -m leakage fit \\\n  --atack.k 3 --nokey\n```\n```python\nx = 1\n```\n"
    )
    assert flags(text) == ["atack.k", "nokey"]
    assert blocks(text, "python") == ["x = 1\n"]
    assert not any(map(is_known, ["atack.k", "attack.kk", "defense.keeep", "trainer.x", "nokey"]))
    assert all(map(is_known, ["attack.k", "defense.keep", "data.init_args.root", "trainer.logger"]))
    assert all(map(is_known, ["trainer.logger.save_dir", "attack.secret.scope", "model.hidden"]))
    for name in ("work", "root", "home"):
        assert private_paths(f"see /{name}/x.py and https://a.org/{name}/") == [f"/{name}/x.py"]
        assert private_paths(f"'/{name}'") == [f"/{name}"]
    assert private_paths("--data.root and data/root, a/home/b") == []
