"""Rounds on disk: read again as they were written, and not at all where anything has changed."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from leakage.adversaries.posterior import Observed
from leakage.archive import Archive
from leakage.gradients.source import Source
from leakage.player import Guesses, Played
from leakage.snapshot import Snapshot


def played(seed: int, matches: int = 1, live: int = 0) -> Played:
    rng = np.random.default_rng(seed)

    def observed() -> Observed:
        sources = int(rng.integers(1, 3))
        calibrate, challenge = (
            [np.log(rng.random((n, 2)).astype(kind)) for kind in (np.float32, np.float64)[:sources]]
            for n in (5, 4)
        )
        challenge[0][0, 0] = -np.inf  # a value that never got a vote
        return Observed(calibrate, challenge, [rng.random((live, 2))] if live else [])

    keys = [((), "prior", "all"), (("static", "adaptive"), "RandomForest", "all")]
    guesses = [
        Guesses({key: observed() for key in keys}, rng.integers(-1, 9, (4, 3)))
        for _ in range(matches)
    ]
    return Played(
        3, 57, guesses, 12, 64, False, "factored", ["idle"], [4], {"fit": "some"}, {"a": 0.5}
    )


def assert_same(one: Played, other: Played) -> None:
    assert replace(one, guesses=[]) == replace(other, guesses=[])
    for mine, theirs in zip(one.guesses, other.guesses, strict=True):
        assert list(mine.guesses) == list(theirs.guesses)
        np.testing.assert_array_equal(mine.units, theirs.units)
        for key, seen in mine.guesses.items():
            again = theirs.guesses[key]
            for part in ("calibrate", "challenge", "live"):
                pairs = zip(getattr(seen, part), getattr(again, part), strict=True)
                for scores, kept in pairs:
                    assert scores.dtype == kept.dtype
                    np.testing.assert_array_equal(scores, kept)


@given(seed=st.integers(0, 99), matches=st.integers(1, 3), live=st.integers(0, 2))
def test_a_round_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, matches: int, live: int
) -> None:
    archive, round_ = Archive(tmp_path_factory.mktemp("rounds")), played(seed, matches, live)
    archive.keep(round_, "key")
    found = archive.load(3, "key")
    assert found is not None
    assert_same(found, round_)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "attack")
    archive.keep_weights(0, "key", 7, {"w": torch.ones(3)})
    archive.keep_live(0, "key", torch.ones(2, 3), 64)
    archive.keep(played(0), "key")
    assert stat.S_IMODE((tmp_path / "attack").stat().st_mode) == 0o700
    for file in (tmp_path / "attack").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_key_and_a_file_cut_short_are_as_none(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.load(3, "key") is None
    archive.keep(played(0), "key")
    assert archive.load(3, "other") is None
    file = next(tmp_path.iterdir())
    whole = file.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert archive.load(3, "key") is None
    archive.keep_weights(1, "key", 7, {"w": torch.ones(3)})
    assert archive.weights(1, "other") is None
    step, tensors = archive.weights(1, "key") or (0, {})
    assert step == 7
    assert torch.equal(tensors["w"], torch.ones(3))


def test_weights_are_kept_until_their_round_is_played(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep_weights(3, "key", 57, {"w": torch.ones(3)})
    archive.keep_live(3, "key", torch.ones(2, 3), 64)
    size, live = archive.live(3, "key") or (0, torch.empty(0))
    assert (size, live.shape) == (64, (2, 3))
    archive.keep(played(0), "key")
    assert [path.name for path in tmp_path.iterdir()] == ["round_00003.safetensors"]


class Tied(nn.Module):
    """A weight in two places, one that is no matrix of floats, a buffer that no state has."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("hidden", torch.zeros(()), persistent=False)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(batch)).sum()


def test_a_key_changes_with_any_weight_buffer_and_name() -> None:
    torch.manual_seed(0)
    module = Tied()

    def key(*names: str, round_: int = 0) -> str:
        return Snapshot.of(module, Source(None), round_, 0).digest(*names)  # type: ignore[arg-type]

    first = key("a")
    assert key("a") == first
    assert len({first, key("b"), key("a", "b"), key("a", round_=1)}) == 4
    for tensor in (*module.parameters(), *module.buffers()):
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor += 1
        assert key("a") != first
        with torch.no_grad():
            tensor.copy_(before)
    assert key("a") == first


def test_a_snapshot_is_taken_back_to_the_weights_of_an_earlier_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, archive = Tied(), Archive(tmp_path)
    source = Source(None)  # type: ignore[arg-type]
    earlier = Snapshot.of(module, source, 1, 10)
    archive.keep_weights(1, "key", 10, earlier.tensors)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor += 1
    now = Snapshot.of(module, source, 4, 40)
    assert now.digest() != earlier.digest()
    step, tensors = archive.weights(1, "key") or (0, {})
    again = now.at(1, step, tensors, (64, torch.ones(2, 3)))
    assert again.digest() == earlier.digest()
    assert (again.round, again.step, again.size) == (1, 10, 64)
    assert now.digest() == Snapshot.of(module, source, 4, 40).digest()  # which stays as it was
