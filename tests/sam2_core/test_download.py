"""Downloads from a real web server: resumed, checked, shared between processes, and given up."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam2_core import download
from sam2_core.checkpoint_files import local_checkpoint
from sam2_core.download import published_checkpoint, shown
from sam2_core.errors import ConfigError, DownloadFailed

ROOT = Path(__file__).resolve().parents[2]
NAME = "sam2.1_hiera_tiny"
PLACE = f"/092824/{NAME}.pt"
CONTENT = bytes(range(256)) * 20_000  # 5 MB, several chunks


class Web(ThreadingHTTPServer):
    """One file at every address, served as well or as badly as a test wants."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.weak = ""  # "W/": its ETags promise less than the same bytes
        self.statuses = []  # given before anything else, one a request
        self.cuts = []  # bytes after which the connection breaks, one a request
        self.stalls = None  # set: a request hangs half-way until this event
        self.requests = []  # (path, range asked for)
        self.sent = Counter()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def etag(self):
        return f'{self.weak}"{hashlib.md5(self.content).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self):
        web = self.server
        asked = self.headers.get("Range")
        web.requests.append((self.path, asked))
        if web.statuses:
            return self.send_error(web.statuses.pop(0))
        first, last = self.wanted(asked) if asked and web.ranges else (None, None)
        if first is not None and first >= len(web.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(web.content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = web.content if first is None else web.content[first : last + 1]
        self.send_response(200 if first is None else 206)
        if first is not None:
            span = f"bytes {first}-{first + len(body) - 1}/{len(web.content)}"
            self.send_header("Content-Range", span)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", web.etag)
        self.end_headers()
        return self.send(body)

    def wanted(self, asked):
        if self.headers.get("If-Range", self.server.etag) != self.server.etag:
            return None, None
        first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()
        return int(first), int(last or len(self.server.content) - 1)

    def send(self, body):
        web = self.server
        cut = web.cuts.pop(0) if web.cuts and len(body) > 1 else None
        if web.stalls is not None and len(body) > 1:
            self.wfile.write(body[: len(body) // 2])
            web.stalls.wait(30)
            return
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        """Keep the test's output clean."""


@pytest.fixture
def web(monkeypatch, tmp_path):
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAM2RAY_CHECKPOINT_URL", server.url)
    monkeypatch.setattr(download, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setitem(download.PUBLISHED, NAME, hashlib.sha256(CONTENT).hexdigest())
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "cache" / f"{NAME}.pt.part"
    path.parent.mkdir()
    return path


def complaint(name=NAME):
    with pytest.raises(DownloadFailed) as raised:
        published_checkpoint(name)
    return str(raised.value)


# ---------------------------------------------------------------- once


def test_a_published_file_is_downloaded_once_into_the_cache(web, tmp_path):
    path = published_checkpoint(NAME)
    assert path == tmp_path / "cache" / f"{NAME}.pt"
    assert path.read_bytes() == CONTENT
    assert not path.with_name(f"{NAME}.pt.part").exists()

    assert published_checkpoint(NAME) == path
    assert web.requests == [(PLACE, None)]


def test_the_cache_is_where_the_caller_or_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("SAM2RAY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert download.cache_folder() == tmp_path / ".cache" / "sam2ray"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert download.cache_folder() == Path("/xdg/sam2ray")
    monkeypatch.setenv("SAM2RAY_CACHE", "~/weights")
    assert download.cache_folder() == tmp_path / "weights"
    assert download.cache_folder("/given") == Path("/given")


def test_every_published_file_has_a_place_and_a_digest():
    assert len(download.PUBLISHED) == 8
    for name, digest in download.PUBLISHED.items():
        assert name.partition("_")[0] in download.RELEASES
        assert re.fullmatch("[0-9a-f]{64}", digest)
    assert len(set(download.PUBLISHED.values())) == 8


def test_files_of_2_0_lie_in_their_own_folder(web, monkeypatch):
    monkeypatch.setitem(download.PUBLISHED, "sam2_hiera_large", hashlib.sha256(CONTENT).hexdigest())
    published_checkpoint("sam2_hiera_large")
    assert web.requests == [("/072824/sam2_hiera_large.pt", None)]


# ---------------------------------------------------------------- resumed


def test_a_download_goes_on_where_it_broke_off(web, part):
    part.write_bytes(CONTENT[:1_000_000])
    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert web.requests == [(PLACE, "bytes=1000000-")]


def test_a_server_that_ignores_the_range_gives_the_whole_file_again(web, part):
    web.ranges = False
    part.write_bytes(b"x" * 1_000_000)
    assert published_checkpoint(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_that_is_longer_than_the_file_is_begun_again(web, part, ranges):
    web.ranges = ranges
    part.write_bytes(CONTENT + b"more")
    assert published_checkpoint(NAME).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_downloaded_again(web, part):
    part.write_bytes(CONTENT)
    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert web.requests == [(PLACE, f"bytes={len(CONTENT)}-")]


def test_a_connection_that_breaks_again_and_again_is_resumed_as_long_as_it_brings_something(web):
    web.cuts = [400_000] * 10
    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert [asked for _, asked in web.requests][:3] == [None, "bytes=400000-", "bytes=800000-"]
    assert len(web.requests) == 11


def test_a_connection_that_never_gets_further_is_given_up(web):
    web.ranges = False
    web.cuts = [400_000] * 10
    assert "the server sent 400,000 of 5,120,000 bytes (4 tries)" in complaint()
    assert len(web.requests) == 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(web, status):
    web.statuses = [status, status]
    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert len(web.requests) == 3


# ---------------------------------------------------------------- given up


def test_a_file_with_another_digest_is_deleted_and_both_digests_are_named(web, tmp_path):
    web.content = b"<html>Please sign in</html>"
    message = complaint()
    assert hashlib.sha256(web.content).hexdigest() in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert "27 bytes" in message
    assert not list((tmp_path / "cache").glob("*.pt*[!k]"))

    web.content = CONTENT
    assert published_checkpoint(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_not_asked_for_again(web, status):
    web.statuses = [status]
    message = complaint()
    assert f"{web.url}{PLACE} could not be downloaded: HTTP {status} " in message
    assert "Download the file elsewhere and pass checkpoint=PATH" in message
    assert "SAM2RAY_CHECKPOINT_URL" in message
    assert len(web.requests) == 1


def test_a_server_that_stays_broken_is_given_up_after_a_few_tries(web):
    web.statuses = [500] * 9
    assert "HTTP 500 Internal Server Error (4 tries)" in complaint()
    assert len(web.requests) == 4


def test_a_server_that_nobody_runs_is_given_up(web, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SAM2RAY_CHECKPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert "Connection refused (4 tries)" in complaint()


def test_a_host_that_does_not_exist_is_given_up(web, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("SAM2RAY_CHECKPOINT_URL", "http://sam2ray.invalid/mirror/")
    message = complaint()
    assert f"http://sam2ray.invalid/mirror{PLACE} could not be downloaded" in message
    assert "(4 tries)" in message


def test_a_server_that_falls_silent_is_given_up_in_finite_time(web, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    web.stalls, web.ranges = threading.Event(), False
    started = time.monotonic()
    assert "timed out (4 tries)" in complaint()
    assert time.monotonic() - started < 10
    web.stalls.set()


def test_a_mirror_that_is_no_web_address_is_refused(monkeypatch):
    monkeypatch.setenv("SAM2RAY_CHECKPOINT_URL", "s3://mirror")
    with pytest.raises(ConfigError, match="SAM2RAY_CHECKPOINT_URL='s3://mirror'"):
        published_checkpoint(NAME)


def test_a_model_without_a_published_file_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"No checkpoint is published for 'nano'.*=PATH"):
        published_checkpoint("nano")


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(web, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "file" / "cache"))
    message = complaint()
    assert f"could not be kept in {tmp_path / 'file' / 'cache'}: Not a directory" in message
    assert "set SAM2RAY_CACHE to another folder" in message


# The package itself imports torch, which takes longer than all these downloads together.
FETCH = f"""
import sys, types
sys.modules["sam2_core"] = package = types.ModuleType("sam2_core")
package.__path__ = [{str(ROOT / "sam2_core")!r}]
from sam2_core import download
download.PUBLISHED[{NAME!r}] = sys.argv[1]
print(download.published_checkpoint({NAME!r}))
"""


def fetch_in_another_process(script=FETCH):
    return subprocess.Popen(
        [sys.executable, "-c", script, hashlib.sha256(CONTENT).hexdigest()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_disk_that_is_full_is_reported_and_the_rest_comes_when_there_is_room(web, tmp_path):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
    process = fetch_in_another_process(limit + FETCH)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert f"could not be kept in {tmp_path / 'cache'}: File too large. Make room" in error

    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert web.requests == [(PLACE, None), (PLACE, "bytes=2000000-")]


# ---------------------------------------------------------------- many at a time


def test_processes_that_want_the_same_file_download_it_once(web, tmp_path):
    processes = [fetch_in_another_process() for _ in range(3)]
    for process in processes:
        output, error = process.communicate(timeout=60)
        assert output.strip() == str(tmp_path / "cache" / f"{NAME}.pt"), error
    assert web.requests == [(PLACE, None)]


def test_a_process_that_is_killed_leaves_neither_the_lock_nor_its_part_useless(web, part):
    web.stalls = threading.Event()
    process = fetch_in_another_process()
    while not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    size = part.stat().st_size
    web.stalls.set()
    web.stalls = None

    assert published_checkpoint(NAME).read_bytes() == CONTENT
    assert web.requests[-1] == (PLACE, f"bytes={size}-")


@pytest.mark.parametrize("kind", ["_kernel_lock", "_heartbeat_lock"])
def test_a_lock_lets_one_in_at_a_time(tmp_path, kind):
    inside, most, guard = Counter(), [], threading.Lock()

    def enter():
        with getattr(download, kind)(tmp_path / "lock"):
            with guard:
                inside["now"] += 1
            most.append(inside["now"])
            time.sleep(0.02)
            with guard:
                inside["now"] -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_heartbeat_keeps_a_lock_and_its_end_gives_it_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_HEARTBEAT_S", 0.02)
    monkeypatch.setattr(download, "_ABANDONED_S", 4)  # a busy machine may forget a thread for long
    monkeypatch.setattr(download, "_LOCK_TIMEOUT_S", 5)
    lock = tmp_path / "lock"
    with (
        download._heartbeat_lock(lock),
        pytest.raises(DownloadFailed, match="another process has held this lock"),
        download._heartbeat_lock(lock),
    ):
        pass
    assert not lock.exists()

    lock.touch()  # whoever made it is dead and touches it no more
    os.utime(lock, (0, 0))
    with download._heartbeat_lock(lock):
        pass


# ---------------------------------------------------------------- any file on the web


def test_a_checkpoint_on_the_web_is_copied_once_for_each_version(web, tmp_path):
    url = f"{web.url}/models/mine.pt?signature=secret"
    first = local_checkpoint(url)
    assert first.read_bytes() == CONTENT
    assert first.parent == tmp_path / "cache" / "remote"
    assert first.name.endswith("-mine.pt")
    assert local_checkpoint(url) == first
    assert [asked for _, asked in web.requests] == ["bytes=0-0", None, "bytes=0-0"]

    web.content = b"a new version"
    assert local_checkpoint(url).read_bytes() == b"a new version"
    assert first.read_bytes() == CONTENT


def test_a_part_of_another_version_is_never_continued(web, tmp_path):
    url = f"{web.url}/mine.pt"
    web.cuts = [400_000]
    download_was_begun = threading.Event()

    def change_the_file_when_it_broke_off():
        while web.cuts:
            time.sleep(0.001)
        web.content = CONTENT[::-1]
        download_was_begun.set()

    thread = threading.Thread(target=change_the_file_when_it_broke_off)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_FIRST_PAUSE_S", 0.3)
        assert local_checkpoint(url).read_bytes() == CONTENT[::-1]
    thread.join()
    assert download_was_begun.is_set()


def test_a_file_that_nothing_identifies_is_begun_again_instead_of_continued(web):
    web.weak = "W/"
    web.cuts = [400_000]
    assert local_checkpoint(f"{web.url}/mine.pt").read_bytes() == CONTENT
    assert [asked for _, asked in web.requests] == ["bytes=0-0", None, None]


def test_signatures_in_a_url_stay_out_of_messages(web):
    web.statuses = [403]
    with pytest.raises(DownloadFailed) as raised:
        local_checkpoint(f"{web.url}/mine.pt?signature=secret")
    assert "secret" not in str(raised.value)
    assert shown("odd?name.pt") == "odd?name.pt"


# ---------------------------------------------------------------- what the user sees


def test_a_log_gets_one_line_even_if_the_connection_breaks(web, capsys):
    web.cuts = [400_000, 400_000]
    published_checkpoint(NAME)
    assert capsys.readouterr().err == f"sam2ray: downloading {NAME}.pt, 5.1 MB\n"


def test_a_terminal_gets_a_bar_that_ends_full(web, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    published_checkpoint(NAME)
    drawn = capsys.readouterr().err
    assert drawn.endswith(f"\r{NAME}.pt [{'#' * 30}] 100% of 5.1 MB\n")


def test_nobody_is_told_anything_without_progress(web, capsys):
    published_checkpoint(NAME, progress=False)
    assert capsys.readouterr().err == ""
