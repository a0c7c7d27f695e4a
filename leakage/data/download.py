"""Downloads a file whose checksum is known; a broken download goes on where it stopped."""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from leakage.data.files import is_web_page
from leakage.errors import LeakageError

logger = logging.getLogger("leakage.data")

CHUNK = 1 << 16
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""


def sha256_of(path: Path) -> str:
    """The checksum of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str) -> None:
    """Fetches the URL to the path, which holds the whole, verified file or is left as it was.

    Args:
        url: where the file is.
        path: where it goes; until it is complete it grows as `<path>.part`.
        sha256: its checksum, 64 hexadecimal digits.

    Raises:
        LeakageError: the server cannot be reached, breaks off, or sends another file.
    """
    part = path.with_suffix(path.suffix + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not part.exists() or sha256_of(part) != sha256:
        logger.info("downloading %s to %s", url, path)
        try:
            _fetch(url, part)
        # ValueError: urllib's word for something that is no URL.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LeakageError(
                f"{url}: the download failed ({error}); check the URL and the connection, or put"
                f" the file at {path} by hand"
            ) from error
    found = sha256_of(part)
    if found != sha256:
        with part.open("rb") as file:
            web_page = is_web_page(file.read(CHUNK))
        part.unlink()
        if web_page:
            raise LeakageError(
                f"{url}: the server sent a web page in place of {path.name}; open the URL in a"
                " browser to see why"
            )
        raise LeakageError(
            f"{path}: the file from {url} has the sha256 {found}, expected {sha256}; it was"
            " deleted, start again or put the right file there by hand"
        )
    part.replace(path)


def _fetch(url: str, part: Path) -> None:
    """Appends to the part what it lacks, or starts it anew where the server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        part.unlink()  # longer than the file on the server: a part of something else
        _fetch(url, part)
        return
    with response:
        span = response.headers.get("Content-Range") or ""
        resumed = response.status == 206 and span.startswith(f"bytes {have}-")
        if response.status == 206 and not resumed:
            raise OSError(f"asked for the bytes from {have} on, the server sent {span!r}")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=None) as progress,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress.update(len(chunk))
    # urllib takes a connection that closes early for the end of the file.
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes, start again to go on")
