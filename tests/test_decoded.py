"""Files are decoded once, in their order, and never from a cache of what they no longer are."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from leakage.data import decoded
from leakage.data.decoded import CACHE, Decoded, Decoder
from leakage.data.unreadable import Unreadable, UnreadableError, check_max_unreadable
from leakage.errors import LeakageError


@dataclass(frozen=True)
class _Number(Decoder):
    """A number in a text file, times a factor; a remark on odd ones."""

    factor: int = 1

    @override
    def decode(self, path: Path) -> tuple[Tensor, str]:
        text = path.read_text()
        if not text.isdigit():
            raise UnreadableError("no number")
        return torch.tensor([self.factor * float(text)]), "are odd" if int(text) % 2 else ""


def write(folder: Path, *texts: str) -> list[Path]:
    files = [folder / f"{n:04d}.txt" for n in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return files


def decode(
    files: list[Path], decoder: Decoder, folder: Path, unreadable: Unreadable | None = None
) -> Decoded:
    told = Unreadable(folder, "numbers") if unreadable is None else unreadable
    return decoded.decode(files, decoder, folder, told)


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / CACHE).iterdir())


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: _Number, path: Path) -> tuple[Tensor, str]:
        raise AssertionError(path)

    monkeypatch.setattr(_Number, "decode", decode)


def test_what_can_be_decoded_is_so_in_its_order_and_the_rest_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """The same from the files, and from what was kept."""
    caplog.set_level(logging.INFO, "leakage.data")
    files = write(tmp_path, "4", "x", "7", "", "9")
    for _ in range(2):
        unreadable = Unreadable(tmp_path, "numbers")
        caplog.clear()
        found = decode(files, _Number(), tmp_path, unreadable)
        assert found.x.tolist() == [[4.0], [7.0], [9.0]]
        assert found.position.tolist() == [0, 2, 4]
        assert caplog.messages == [f"{tmp_path}: 2 of 5 numbers are odd (the first: 0002.txt)"]
        with pytest.raises(
            LeakageError, match=r"2 of 5 numbers left out: no number \(the first: 0001"
        ):
            unreadable.settle(5, 0)
        request.getfixturevalue("no_decoding")
    assert (tmp_path / CACHE / caches(tmp_path)[0]).stat().st_mode & 0o777 == 0o600


def test_nothing_that_can_be_decoded_is_told_too(tmp_path: Path) -> None:
    unreadable = Unreadable(tmp_path, "numbers")
    found = decode(write(tmp_path, "x"), _Number(), tmp_path, unreadable)
    assert (len(found.x), len(found.position), len(unreadable)) == (0, 0, 1)


def test_what_is_done_to_x_does_not_reach_what_was_kept(tmp_path: Path) -> None:
    files = write(tmp_path, "4", "8")
    for _ in range(2):
        found = decode(files, _Number(), tmp_path)
        assert found.x.tolist() == [[4.0], [8.0]]
        found.x.zero_()


def test_a_file_that_changed_is_decoded_again_even_where_its_size_did_not(tmp_path: Path) -> None:
    files = write(tmp_path, "4", "8")
    decode(files, _Number(), tmp_path)
    before = files[1].stat()
    files[1].write_text("6")
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert decode(files, _Number(), tmp_path).x.tolist() == [[4.0], [6.0]]
    assert len(caches(tmp_path)) == 1  # what is stale is gone


def test_other_settings_and_other_files_are_decoded_anew(tmp_path: Path) -> None:
    files = write(tmp_path, "4", "8")
    assert decode(files, _Number(), tmp_path).x.tolist() == [[4.0], [8.0]]
    assert decode(files, _Number(3), tmp_path).x.tolist() == [[12.0], [24.0]]
    assert decode(files[1:], _Number(3), tmp_path).x.tolist() == [[24.0]]
    assert decode(files[::-1], _Number(3), tmp_path).x.tolist() == [[24.0], [12.0]]


def test_decoding_draws_nothing_from_the_randomness_of_training(tmp_path: Path) -> None:
    """The run that decodes would else train otherwise than those that find the files decoded."""
    before = torch.get_rng_state()
    decode(write(tmp_path, "4", "8"), _Number(), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("left", [0, 5, 100])
def test_a_cache_that_was_cut_short_is_made_again(tmp_path: Path, left: int) -> None:
    files = write(tmp_path, "4", "8")
    decode(files, _Number(), tmp_path)
    cache = tmp_path / CACHE / caches(tmp_path)[0]
    whole = cache.read_bytes()
    cache.write_bytes(whole[:left])
    assert decode(files, _Number(), tmp_path).x.tolist() == [[4.0], [8.0]]
    assert cache.read_bytes() == whole


def test_a_folder_that_cannot_be_written_to_costs_time_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write(tmp_path, "4")
    (tmp_path / CACHE).write_text("in the way")
    with caplog.at_level(logging.WARNING, "leakage.data"):
        assert decode(files, _Number(), tmp_path).x.tolist() == [[4.0]]
    assert caplog.messages == [
        f"{tmp_path / CACHE}: what was decoded cannot be kept there (File exists), so each run"
        " decodes the files again"
    ]


def test_a_run_that_dies_while_it_keeps_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_file(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(decoded, "save_file", save_file)
    with pytest.raises(KeyboardInterrupt):
        decode(write(tmp_path, "4"), _Number(), tmp_path)
    assert caches(tmp_path) == []


def test_workers_make_the_same_of_many_files_as_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, *("x" if n % 97 == 5 else str(n) for n in range(300)))
    told = [Unreadable(tmp_path, "numbers") for _ in range(2)]
    alone = decode(files, _Number(), tmp_path / "alone", told[0])
    monkeypatch.setattr(decoded, "_ALONE", 10)
    monkeypatch.setattr(decoded.joblib, "cpu_count", lambda: 2)
    many = decode(files, _Number(), tmp_path / "many", told[1])
    assert torch.equal(alone.x, many.x)
    assert torch.equal(alone.position, many.position)
    assert alone.x.flatten().tolist() == [n for n in range(300) if n % 97 != 5]
    assert len(told[0]) == len(told[1]) == 4


# What is unreadable


def test_a_few_unreadable_ones_are_told_by_their_reason_the_commonest_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unreadable = Unreadable(Path("data/x"), "clips")
    unreadable.add("a.wav", "silent")
    unreadable.add("b.wav", "cut short")
    unreadable.add("c.wav", "cut short")
    unreadable.settle(300, 0.01)
    assert caplog.messages == [
        "data/x: 2 of 300 clips left out: cut short (the first: b.wav)",
        "data/x: 1 of 300 clips left out: silent (the first: a.wav)",
    ]


def test_more_than_the_share_is_refused_and_one_less_is_not() -> None:
    unreadable = Unreadable(Path("data/x"), "clips")
    for n in range(3):
        unreadable.add(f"{n}.wav", "silent")
    unreadable.settle(300, 0.01)
    unreadable.settle(3, 1)
    with pytest.raises(LeakageError) as error:
        unreadable.settle(299, 0.01)
    assert str(error.value) == (
        "data/x: 3 of 299 clips left out: silent (the first: 0.wav); data.max_unreadable allows a"
        " share of 0.01, repair the files or raise it"
    )


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(LeakageError) as error:
        check_max_unreadable(share)
    assert str(error.value) == f"data.max_unreadable: a share in 0..1, got {share}"
