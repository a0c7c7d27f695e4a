"""Downloads over a loopback server: whole, resumed, restarted, wrong and refused."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from leakage.data.download import download
from leakage.errors import LeakageError

CONTENT = bytes(range(256)) * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Serves `files` by path; `ranges` switches Range requests, `cut` breaks an answer off."""

    files: dict[str, bytes]
    ranges = True
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.asked.append(span)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
        if not self.server.ranges:
            start = 0
        elif span and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.files["/file.bin"] = CONTENT
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_leaves_the_verified_file_alone(server: Server, tmp_path: Path) -> None:
    download(f"{server.url}/file.bin", tmp_path / "new" / "file.bin", SUM)
    assert (tmp_path / "new" / "file.bin").read_bytes() == CONTENT
    assert only(tmp_path / "new") == ["file.bin"]


@pytest.mark.parametrize(("ranges", "sent"), [(True, "bytes=1000-"), (False, "bytes=1000-")])
def test_a_partial_file_is_resumed_where_the_server_can_and_else_restarted(
    server: Server, tmp_path: Path, ranges: bool, sent: str
) -> None:
    # With ranges the part must be kept: its wrong bytes would otherwise be repaired.
    server.ranges = ranges
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000] if ranges else b"x" * 1000)
    download(f"{server.url}/file.bin", tmp_path / "file.bin", SUM)
    assert server.asked == [sent]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert only(tmp_path) == ["file.bin"]


def test_a_broken_connection_keeps_the_part_and_the_next_download_goes_on(
    server: Server, tmp_path: Path
) -> None:
    server.cut = 1234
    url = f"{server.url}/file.bin"
    with pytest.raises(LeakageError) as error:
        download(url, tmp_path / "file.bin", SUM)
    assert str(error.value) == (
        f"{url}: the download failed (the connection ended after 1234 of 256000 bytes, start again"
        f" to go on); check the URL and the connection, or put the file at {tmp_path / 'file.bin'}"
        " by hand"
    )
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:1234]
    server.cut = None
    download(url, tmp_path / "file.bin", SUM)
    assert server.asked == [None, "bytes=1234-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_started_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    download(f"{server.url}/file.bin", tmp_path / "file.bin", SUM)
    assert server.asked == ["bytes=256004-", None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_that_is_complete_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download("http://127.0.0.1:1/file.bin", tmp_path / "file.bin", SUM)
    assert only(tmp_path) == ["file.bin"]


def test_a_wrong_checksum_is_told_and_the_file_deleted(server: Server, tmp_path: Path) -> None:
    server.files["/file.bin"] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(LeakageError) as error:
        download(f"{server.url}/file.bin", tmp_path / "file.bin", SUM)
    assert str(error.value) == (
        f"{tmp_path / 'file.bin'}: the file from {server.url}/file.bin has the sha256 {found},"
        f" expected {SUM}; it was deleted, start again or put the right file there by hand"
    )
    assert only(tmp_path) == []


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html></html>", b"\n<HTML><body>"])
def test_a_web_page_in_place_of_the_file_is_called_one(
    server: Server, tmp_path: Path, page: bytes
) -> None:
    server.files["/file.bin"] = page
    with pytest.raises(LeakageError) as error:
        download(f"{server.url}/file.bin", tmp_path / "file.bin", SUM)
    assert str(error.value) == (
        f"{server.url}/file.bin: the server sent a web page in place of file.bin; open the URL in"
        " a browser to see why"
    )
    assert only(tmp_path) == []


def test_a_refused_connection_names_the_url(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"
    with pytest.raises(LeakageError, match=r"Connection refused") as error:
        download(url, tmp_path / "file.bin", SUM)
    assert str(error.value).startswith(f"{url}: the download failed (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["/absent", "no url at all"])
def test_an_address_without_the_file_is_named(server: Server, tmp_path: Path, path: str) -> None:
    url = f"{server.url}{path}" if path.startswith("/") else path
    with pytest.raises(LeakageError) as error:
        download(url, tmp_path / "file.bin", SUM)
    reason = "HTTP Error 404: Not Found" if path == "/absent" else f"unknown url type: {url!r}"
    assert str(error.value) == (
        f"{url}: the download failed ({reason}); check the URL and the connection, or put the file"
        f" at {tmp_path / 'file.bin'} by hand"
    )
