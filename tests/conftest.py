"""Folders of data that several tests read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# As `python -m leakage` does, before a library that reads it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by files that are tested side by side
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import submitit  # noqa: F401 - takes hold of the standard streams, which are those of a test later
import torch
from hypothesis import settings
from torch.utils.tensorboard import SummaryWriter

from leakage.background.process import Background
from leakage.callbacks import sides
from leakage.data.standins.adult import ADULT

# The first call of torch is slow, and a failure must come back on the next run.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def adult_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small stand-in of Adult: 6,000 rows of adult.data, 3,000 of adult.test."""
    folder = tmp_path_factory.mktemp("adult")
    ADULT.write(folder, size=6000, seed=0)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _played_within() -> Iterator[None]:
    """Plays rounds within training: the figures are the same, and a process takes seconds to start.

    What is beside training is tested by `python -m leakage` itself, and where `played_beside` is
    asked for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sides, "Background", lambda: None)
        yield


@pytest.fixture
def played_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays rounds in a process beside training, as users do."""
    monkeypatch.setattr(sides, "Background", Background)


@pytest.fixture(scope="session", autouse=True)
def _pictures_are_drawn_once() -> Iterator[None]:
    """Drawing takes a third of a short run: a picture of a tag that was drawn before is blank.

    Its figure is made all the same, by the code of the program; only Matplotlib's pixels are not.
    """
    add_figure, drawn = SummaryWriter.add_figure, set[str]()

    def once(self: SummaryWriter, tag: str, figure: Any, step: int, **settings: Any) -> None:
        if tag in drawn:
            self.add_image(tag, np.zeros((3, 1, 1), np.uint8), step)
            return
        drawn.add(tag)
        add_figure(self, tag, figure, step, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SummaryWriter, "add_figure", once)
        yield


@pytest.fixture
def process_state() -> Iterator[None]:
    """Leaves the threads and the random state of the process as they were."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="session")
def real_adult() -> Path:
    """The folder of the official files of Adult."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "adult"
    folder = Path(os.environ.get("LEAKAGE_ADULT", beside))
    for name in ("adult.data", "adult.test"):
        if not (folder / name).exists():
            pytest.skip(
                f"NOT TESTED ON THE REAL ADULT: {folder / name} is missing; set LEAKAGE_ADULT to"
                " the folder of the official files"
            )
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.name != "posix" or os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("SKIPPED: A FULL DISK NEEDS THE RIGHT TO MOUNT A SMALL ONE")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
