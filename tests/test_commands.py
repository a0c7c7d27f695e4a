"""Each command that README, docs/ and CONTRIBUTING name is run as it stands, on less data.

A reader stands in a folder with the configs of the repository and begins with README; what the
commands of a page leave is there for those below them. Words that make a run short are appended,
and take the place of none that the page has.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pages import PAGES, ROOT, TEXT, blocks, commands, others
from served import Run, Server, shared_memory

from leakage.cli import main
from leakage.cli.overview import COMMANDS

# What is not run, by how it begins, and why.
NOT_RUN = {
    "pip install": "it takes a network and changes the environment; .ci/run does it",
    "python3 -m venv": ".ci/run does it",
    "source .venv": "it changes the shell",
    "pre-commit install": "it changes the copy of the repository",
    "pytest": "it is what runs this",
    "LEAKAGE_LONG=1 pytest": "it takes minutes; without the variable it is a part of the suite",
    "mkdocs build": ".ci/run does it",
    "mkdocs serve": "it does not end",
    "tensorboard": "it does not end; what it shows is read in test_cli.py",
    "docker": "it takes a daemon; test_dockerfile.py reads the file",
    "sbatch": "it takes a cluster; tests/slurm starts one where it can",
    "tests/slurm/unpack": "it takes a network",
    "npm install": "it takes a network; .ci/run does it where it can",
    "python -m tests.benchmarks": "it takes minutes",
    "echo": "it changes the home of the reader",
    "leakage sweep --config configs/sweeps/batch_size.yaml --cluster slurm": "as sbatch",
    "leakage fit --config configs/adult.yaml --data.root data/uci --data.download": (
        "it takes a network; test_download.py serves the files"
    ),
}
FIT: dict[str, Any] = {
    "attack.shadow_batches": 20,
    "attack.calibrate_batches": 20,
    "attack.trials": 20,
    "attack.rounds": [0, 1],
    "attack.layer_map": False,
    "attack.background": False,
    "trainer.max_epochs": 1,
    "trainer.enable_progress_bar": False,
}
AUDIT: dict[str, Any] = {
    "audit.trials": 200,
    "audit.sigmas": [],
    "trainer.enable_progress_bar": False,
}
SMALL: dict[str, Any] = {"data.standin_size": 3500}
# Of what some config or class has, and others have not.
SMALLER: dict[str, dict[str, Any]] = {
    "configs/crema_d.yaml": {"data.standin_size": 364},
    "configs/secrets/crema_d_user.yaml": {
        "attack.k": 1,
        "attack.secret.candidates": 3,
        "attack.secret.enrolment": 1,
        "attack.secret.queries": 1,
    },
    "configs/aggregation.yaml": {"attack.curve_k": [4, 8], "attack.curve_clients": [1, 2]},
}
SWEEP: dict[str, Any] = {
    "grid": {"attack.k": [4], "configs": [[]]},
    "overrides": FIT | SMALL,
}
# The package and the table of the reader of docs/module.md.
PACKAGE = """
    import torch
    from lightning import LightningDataModule, LightningModule
    from torch.utils.data import DataLoader, TensorDataset

    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch, batch_idx):
            x, label = batch
            return torch.nn.functional.cross_entropy(self.layer(x), label)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Data(LightningDataModule):
        def train_dataloader(self):
            x = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
            return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=32)
"""
RECORDS, PATIENTS = 4000, 50
NOT_SHOWN = {"validate", "test"}  # which the pages name among the others
ALONE = re.compile(r"--(help|version|print_config)|--\S+\.help|completion")


@dataclass
class Reader:
    """Who stands in a folder and types commands; each is run once.

    Args:
        server: forks them.
        folder: where they are typed.
        said: what each of them has said so far.
    """

    server: Server
    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def read_to(self, page: str, words: list[str]) -> str:
        """Runs a command, after those above it if it reads what they left; what it said."""
        above = [] if page == "README.md" else commands(PAGES["README.md"])
        above += commands(PAGES[page])
        reads = words[0] == "report" or "--ckpt_path" in words
        for command in [*(above[: above.index(words)] if reads else []), words]:
            if is_run(command) and " ".join(command) not in self.said:
                self.said[" ".join(command)] = self.run(command)
        return self.said[" ".join(words)]

    def run(self, words: list[str]) -> str:
        log = self.folder.with_name("log")
        log.unlink(missing_ok=True)
        run = Run.start(self.server, [*words, *shorter(words)], log, folder=self.folder)
        code, said = run.wait(100), run.said()
        assert code == (3 if "--fail-if '" in said else 0), said
        run.check_gone()
        return said


def is_run(words: list[str]) -> bool:
    return not any(" ".join(["leakage", *words]).startswith(name) for name in NOT_RUN)


def shorter(words: list[str]) -> list[str]:
    """What is appended to make it short."""
    if ALONE.search(" ".join(words)):
        return []
    changed = {"fit": FIT, "audit": AUDIT | SMALL, "sweep": SWEEP}.get(words[0], {})
    if words[0] == "fit" and "--model" not in words:
        changed = changed | SMALL
    for name, more in SMALLER.items():
        changed = changed | (more if name in words else {})
    if words[0] == "standin":
        changed = {"size": 300}  # instead of that of the page
    return [
        f"--{key}={json.dumps(v)}"
        for key, v in changed.items()
        if key == "size" or f"--{key}" not in words
    ]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader") / "repository"
    (folder / "my").mkdir(parents=True)
    (folder / "my" / "package.py").write_text(textwrap.dedent(PACKAGE))
    patients = [number % PATIENTS for number in range(RECORDS)]
    people = {"patient": patients, "sex": ["f" if number % 2 else "m" for number in patients]}
    pd.DataFrame(people).to_csv(folder / "people.csv", index=False)
    (folder / "configs").symlink_to(ROOT / "configs")
    before = shared_memory()
    server = Server()
    yield Reader(server, folder)
    server.close()
    assert shared_memory() <= before


def first_named() -> list[tuple[str, list[str]]]:
    """Each command, and the page that names it first."""
    seen: dict[str, tuple[str, list[str]]] = {}
    for page, text in PAGES.items():
        for words in commands(text):
            if is_run(words):
                seen.setdefault(" ".join(words), (page, words))
    return list(seen.values())


def told(part: str | list[str]) -> str:
    return part if isinstance(part, str) else " ".join(part)


@pytest.mark.parametrize(("page", "words"), first_named(), ids=told)
def test_a_command_of_the_pages_runs(page: str, words: list[str], reader: Reader) -> None:
    said = reader.read_to(page, words)
    assert "Traceback" not in said
    assert "Warning: " not in said
    check_left(words, reader.folder, said)


def check_left(words: list[str], folder: Path, said: str) -> None:
    """What a command has printed, and left in a folder."""
    command = words[0]
    if "--print_config" in words:
        assert {"model", "data", "defense", "trainer"} <= set(yaml.safe_load(said))
    elif ALONE.search(" ".join(words)):
        assert "leakage" in said or "\n  --" in said
    elif command in ("fit", "audit"):
        left = folder / said.splitlines()[-1].removeprefix("written to ")
        assert len(pd.read_csv(left / {"fit": "attack.csv", "audit": "audit.csv"}[command])) > 1
    elif command == "sweep":
        (out,) = re.findall(r"^figures: (\S+);", said, re.MULTILINE)
        seeds = pd.read_parquet(folder / out)["seed"].nunique()
        assert f"{seeds} of {seeds} cells are finished" in said
    elif command == "report" and "-" in words:
        assert len(json.JSONDecoder().raw_decode(said)[0]["runs"]) > 0
    elif command == "report":
        (page, runs) = re.findall(r"^(\S+): wrote a report on (\d+) runs?$", said, re.MULTILINE)[0]
        assert int(runs) > 0
        assert (folder / page).stat().st_size > 10_000
    else:
        assert command == "standin"
        assert len(list((folder / words[words.index("--out") + 1]).iterdir())) > 1


@pytest.mark.usefixtures("process_state")
@pytest.mark.parametrize("words", [w for w in commands(TEXT) if not is_run(w)], ids=" ".join)
def test_a_command_that_is_not_run_parses(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--print_config"])
    assert not ended.value.code


def test_what_is_not_run_is_named_and_nothing_else() -> None:
    named = [*(" ".join(["leakage", *words]) for words in commands(TEXT)), *others(TEXT)]
    assert [name for name in NOT_RUN if not any(one.startswith(name) for one in named)] == []
    assert [one for one in others(TEXT) if not any(map(one.startswith, NOT_RUN))] == []
    assert {words[0] for words in commands(TEXT) if is_run(words)} >= set(COMMANDS) - NOT_SHOWN


def test_what_would_be_wrong_is_seen(reader: Reader) -> None:
    """A key, a class, a value, a config and a folder that are not there."""
    adult = ["fit", "--config", "configs/adult.yaml"]
    for wrong, said in (
        ([*adult, "--atack.k", "3"], "error: .*atack"),
        ([*adult, "--defense", "Sing"], "error: .*Sing"),
        ([*adult, "--attack.k", "x"], "error: .*attack.k"),
        ([*adult, "--config", "no"], "error: .*no"),
        (["report", "logs/nowhere"], "error: .*nowhere"),
    ):
        with pytest.raises(AssertionError, match=said):
            reader.run(wrong)
    with pytest.raises((AssertionError, OSError)):
        check_left(adult, reader.folder, "written to logs/adult/version_99")


def test_commands_are_found_wherever_they_stand() -> None:
    text = "```bash\npip install x && python -m leakage fit \\\n  --k '[1, 2]' > f  # why\n```\n"
    text += (
        "See `python -m\nleakage fit --help`, `leakage`, `python -m leakage report`, `attack.k`."
    )
    assert commands(text) == [["fit", "--k", "[1, 2]"], ["fit", "--help"]]
    assert others(text) == ["pip install x"]
    assert blocks(text, "python") == []
