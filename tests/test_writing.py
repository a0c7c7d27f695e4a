"""Files are whole or not there: after an error, a kill and on a full disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from leakage.errors import LeakageError
from leakage.writing import remove_parts, whole, write_whole


def modes(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_for_its_owner_or_for_all_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "gradient"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_whole(path, b"new", private=True)
    assert (path.read_bytes(), modes(path)) == (b"new", 0o600)
    before = os.umask(0o027)
    try:
        write_whole(path, "größer")
    finally:
        os.umask(before)
    assert (path.read_text(encoding="utf-8"), modes(path)) == ("größer", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_meets_a_part_and_no_rest_of_a_killed_writer_is_in_the_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "attack.csv"
    path.write_text("old")
    with whole(path) as file:
        file.write(b"ne")
        file.flush()
        os.fsync(file.fileno())
        assert path.read_text() == "old"
        assert list(tmp_path.glob("*.csv")) == [path]
        write_whole(path, "of another writer")
        assert path.read_text() == "of another writer"
        file.write(b"w")
    assert path.read_text() == "new"


def test_what_a_killed_writer_leaves_is_removed_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    killed = (
        "import os, pathlib, signal, sys; from leakage.writing import whole\n"
        "with whole(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    write_whole(path, "whole")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    kept = tmp_path / "official.part"  # of a download, which goes on
    kept.write_text("half")
    assert len(list(path.parent.iterdir())) == 3
    remove_parts(tmp_path)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text() == "whole"
    assert kept.exists()


def test_an_error_in_the_middle_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "old")

    def interrupted() -> None:
        with whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(small_disk: Path) -> None:
    path = small_disk / "attack.csv"
    write_whole(path, "old")
    for full in ("x" * 500_000, b"x" * 500_000):
        with pytest.raises(LeakageError) as error:
            write_whole(path, full)
        assert str(error.value) == f"{path}: it cannot be written: No space left on device"
        assert path.read_text() == "old"
        assert list(small_disk.iterdir()) == [path]
    write_whole(path, "new")  # there is room again
    assert path.read_text() == "new"


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    path = tmp_path / "logs" / "attack.csv"
    with pytest.raises(LeakageError) as error:
        write_whole(path, "")
    assert str(error.value) == f"{path}: it cannot be written: Not a directory"
