"""A server that forks runs, their data, and a run that nobody has interrupted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runs import Left, Run, Server, shared_memory, words_of

from leakage.data.standins.adult import ADULT


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Its runs leave no shared memory."""
    before = shared_memory()
    server = Server()
    yield server
    server.close()
    assert shared_memory() <= before


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adult")
    ADULT.write(folder, size=1500, seed=0)
    return folder


@dataclass(frozen=True)
class Whole:
    """A run that nobody has interrupted, and how long it took."""

    logs: Path
    left: Left
    seconds: float


@pytest.fixture(scope="module")
def whole(server: Server, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    logs = tmp_path_factory.mktemp("whole")
    server.ready()
    start = time.monotonic()
    run = Run.start(server, words_of(root, logs), logs / "log")
    assert run.wait(200) == 0, run.said()
    run.check_gone()
    return Whole(logs, Left.of(logs), time.monotonic() - start)
