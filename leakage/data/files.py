"""What a file holds, or what it is in place of that: a web page, a pointer, bytes of no text."""

from __future__ import annotations

from pathlib import Path

from leakage.data.unreadable import UnreadableError
from leakage.errors import LeakageError

_POINTER = b"version https://git-lfs.github.com/spec/v1"


def is_web_page(head: bytes) -> bool:
    """Whether a file that begins like this is HTML: what a failed download often leaves.

    >>> is_web_page(b"<!DOCTYPE html><html>"), is_web_page(b"39, State-gov")
    (True, False)
    """
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html"))


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins like this only says where Git LFS would find its content.

    >>> is_pointer(b"version https://git-lfs.github.com/spec/v1"), is_pointer(b"RIFF")
    (True, False)
    """
    return head.startswith(_POINTER)


def text_of(path: Path, expected: str) -> str:
    """The text in a file, without a byte order mark.

    Args:
        path: of the file.
        expected: what an error says that it should hold.

    Raises:
        LeakageError: it is a web page, a pointer of Git LFS, or no text, which names the row.
    """
    content = path.read_bytes()
    if is_web_page(content[:1024]) or is_pointer(content):
        kind = "a Git-LFS pointer" if is_pointer(content) else "a web page (a failed download)"
        raise LeakageError(f"{path}: found {kind}, expected {expected}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise LeakageError(
            f"{path}, row {row}: found the byte 0x{content[error.start]:02x}, expected plain text"
        ) from None


def content_of(path: Path, thing: str) -> bytes:
    """The bytes of a file that should be a picture, a sound or the like.

    Args:
        path: of the file.
        thing: what it should be.

    Raises:
        UnreadableError: it cannot be opened, or is empty, a pointer of Git LFS or a web page.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"it cannot be opened ({error.strerror})") from None
    if not content:
        raise UnreadableError("an empty file, get it again")
    if is_pointer(content):
        raise UnreadableError(
            f"a Git-LFS pointer in place of the {thing}; run `git lfs pull` where it was cloned,"
            " or download it with git-lfs"
        )
    if is_web_page(content[:1024]):
        raise UnreadableError("a web page (a failed download), get it again")
    return content
