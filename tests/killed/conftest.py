"""A server that forks runs, and their data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, shared_memory

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
