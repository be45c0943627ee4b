"""Files of the web: what servers do wrong is found out, and what is private goes to one host."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from rude_web import Answer, rude_web, saying

from sam2ray.errors import BadAddress, UnitFailed
from sam2ray.patience import Patience, classify, may_pass, patiently, retry_after_s
from sam2ray.readers.locate import read_unit
from sam2ray.records import ErrorClass, Unit
from sam2ray.stages.fetch import fetch
from sam2ray.storage import open_store
from sam2ray.web import (
    Told,
    WebError,
    WebFacts,
    WebForbidden,
    look_at_web,
    read_web,
    read_web_range,
)
from sam2ray.web_store import WebStore

IMPATIENT = {"http": {"timeout_s": 0.2}}
DATE = "Mon, 01 Jan 2024 10:00:00 GMT"
SIGNED = "?token=HUSH-token&Expires=1700000000"


def refused(answer: Answer, more: str = "", options: dict | None = None) -> WebError:
    with rude_web(answer) as web, pytest.raises(WebError) as raised:
        read_web(web.url + more, options or {})
    assert "HUSH" not in str(raised.value)
    return raised.value


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("200 OK\nContent-Length: 10", b"12345"),
        ("200 OK\nTransfer-Encoding: chunked", b"5\r\n12345\r\n"),
        ("200 OK\nTransfer-Encoding: chunked", b"5\r\n123"),
        ("200 OK\nTransfer-Encoding: chunked", b"nonsense\r\n12345"),
        ("206 Partial Content\nContent-Length: 5", b"12345"),
        ("204 No Content", b""),
        ("202 Accepted\nContent-Length: 5", b"12345"),
        ("99999", b""),
    ],
)
def test_an_answer_that_is_not_the_whole_file_is_worth_another_try(head, body):
    error = refused(saying(head, body))
    assert may_pass(error)
    assert classify(error) is ErrorClass.IO


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("200 OK\nContent-Length: 5", b"12345"),
        ("200 OK\nContent-Length: 5", b"12345 and more than that"),
        ("200 OK\nContent-Length: none", b"12345"),
        ("200 OK\nContent-Length: -3", b"12345"),
        ("200 OK", b"12345"),
        ("200 OK\nTransfer-Encoding: chunked", b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n"),
    ],
)
def test_a_file_ends_where_its_server_says_or_where_the_connection_does(head, body):
    with rude_web(saying(head, body)) as web:
        assert read_web(web.url, {}) == b"12345"


def test_a_connection_that_is_reset_is_worth_another_try():
    def reset(_request: str, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
        connection.close()

    with rude_web(reset) as web, pytest.raises(OSError) as raised:
        read_web(web.url, {})
    assert may_pass(raised.value)


def test_a_body_without_end_is_read_up_to_the_limit_alone():
    sent = 0

    def endless(_request: str, connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += connection.send(bytes(10_000))

    with rude_web(endless) as web, pytest.raises(UnitFailed, match="00 is the most") as failed:
        read_unit(Unit(web.url, "image"), {}, 100_000)
    assert failed.value.error_class is ErrorClass.TOO_LARGE
    assert sent < 50_000_000  # what the system keeps of it between the two


def test_a_body_that_is_announced_as_too_long_is_not_read_at_all():
    answer = saying(f"200 OK\nContent-Length: {10**15}")
    with rude_web(answer) as web, pytest.raises(UnitFailed, match="100000 is the most"):
        read_unit(Unit(web.url, "image"), {}, 100_000)


def test_a_server_that_sends_next_to_nothing_is_as_good_as_silent():
    ended = threading.Event()

    def drip(_request: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not ended.wait(0.02):
            connection.sendall(b".")

    with rude_web(drip) as web:
        with pytest.raises(WebError, match=r"too slow: \d+ bytes came in 0.2 s") as raised:
            read_web(web.url, IMPATIENT)
        assert may_pass(raised.value)
        with pytest.raises(WebError, match="too slow"):
            read_web_range(web.url.replace("a.jpg", "b"), IMPATIENT, 0, 1000)
        ended.set()


def test_a_server_that_is_slow_but_sends_enough_is_waited_for():
    def slow(_request: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.05)
            connection.sendall(bytes(10_000))

    with rude_web(slow) as web:
        assert len(read_web(web.url, IMPATIENT)) == 100_000


def test_a_server_that_says_nothing_is_given_up():
    ended = threading.Event()
    with rude_web(lambda _request, _connection: ended.wait(10) and None) as web:
        with pytest.raises(TimeoutError) as raised:
            read_web(web.url, IMPATIENT)
        ended.set()
    assert may_pass(raised.value)


# ---------------------------------------------------------------- ranges


def _ranges(content: bytes) -> Answer:
    """As a good server answers."""

    def answer(request: str, connection: socket.socket) -> None:
        first, _, last = request.partition("Range: bytes=")[2].partition("\r\n")[0].partition("-")
        part = content[int(first) : int(last) + 1]
        end = int(first) + len(part) - 1
        head = f"206 Partial\nContent-Range: bytes {first}-{end}/{len(content)}"
        if not part:
            head = f"416 No\nContent-Range: bytes */{len(content)}"
        saying(f"{head}\nContent-Length: {len(part)}", part)(request, connection)

    return answer


def test_parts_of_a_file_are_read_up_to_its_end():
    with rude_web(_ranges(b"0123456789")) as web:
        assert read_web_range(web.url, {}, 2, 3) == b"234"
        assert read_web_range(web.url, {}, 8, 5) == b"89"
        assert read_web_range(web.url, {}, 10, 5) == b""
        assert read_web_range(web.url, {}, 3, 0) == b""


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("206 Partial\nContent-Range: bytes 0-2/10\nContent-Length: 3", b"012"),
        ("206 Partial\nContent-Range: bytes 2-4/10\nContent-Length: 3", b"23"),
        ("206 Partial\nContent-Range: bytes 2-4/10\nContent-Length: 2", b"23"),
    ],
)
def test_another_part_than_the_one_asked_for_is_no_answer(head, body):
    with rude_web(saying(head, body)) as web, pytest.raises(WebError) as raised:
        read_web_range(web.url, {}, 2, 3)
    assert may_pass(raised.value)


def test_of_a_part_that_is_longer_than_asked_for_the_rest_is_left():
    head = "206 Partial\nContent-Range: bytes 2-9/10\nContent-Length: 8"
    with rude_web(saying(head, b"23456789")) as web:
        assert read_web_range(web.url, {}, 2, 3) == b"234"


def test_a_server_without_ranges_is_told_from_others_before_its_file_is_read():
    with rude_web(saying(f"200 OK\nContent-Length: {10**12}", bytes(1000))) as web:
        with pytest.raises(BadAddress, match=r"no parts of files.*bucket"):
            read_web_range(web.url, {}, 0, 3)
        with pytest.raises(BadAddress):
            read_web_range(web.url, {}, 5, 3)
    with rude_web(saying("200 OK\nContent-Length: 3", b"012")) as web:
        assert read_web_range(web.url, {}, 0, 5) == b"012"  # all of it is what was asked for


# ---------------------------------------------------------------- facts


def _without_head(request: str, connection: socket.socket) -> None:
    if request.startswith("HEAD"):
        saying("403 Forbidden")(request, connection)
    else:
        _ranges(b"0123456789")(request, connection)


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (saying('200 OK\nContent-Length: 7\nETag: "e"'), WebFacts(7, "e")),
        (saying("200 OK\nContent-Length: 7\nLast-Modified: Mon"), WebFacts(7, "", "Mon")),
        (_without_head, WebFacts(10)),
    ],
)
def test_a_server_says_how_large_a_file_is_and_which(answer, facts):
    with rude_web(answer) as web:
        assert look_at_web(web.url, {}) == facts
    versions = [
        WebFacts(7, "e", "Mon").version,
        WebFacts(7, "", "Mon").version,
        WebFacts(7).version,
    ]
    assert versions == ["e", "7-Mon", "7-"]


@pytest.mark.parametrize(
    ("version", "told", "now"),
    [
        ("e", Told(7, "e", DATE), "e"),
        ("e", Told(7, "f", DATE), "f"),
        ("e", Told(7, "", DATE), "e"),
        (f"7-{DATE}", Told(7, "e", DATE), f"7-{DATE}"),
        (f"7-{DATE}", Told(None, "e", ""), f"7-{DATE}"),
        (f"7-{DATE}", Told(8, "e", ""), f"8-{DATE}"),
        (f"0-{DATE}", Told(7, "e", DATE), f"0-{DATE}"),
        ("7-", Told(7, "e", DATE), "7-"),
        ("7-", Told(8, "e", DATE), "8-"),
        ("7-2f", Told(7, "7-30", DATE), "7-30"),  # a tag, as servers of files make them
        ("7-", Told(9, "7-", DATE), "7-"),
    ],
)
def test_a_version_is_compared_with_what_is_said_in_the_same_way(
    version: str, told: Told, now: str
):
    assert told.version_like(version) == now


@pytest.mark.parametrize(
    "head",
    ["200 OK", "200 OK\nContent-Length: 7\nContent-Encoding: br", "206 P\nContent-Range: x"],
)
def test_a_file_of_unknown_size_cannot_be_read_in_parts(head):
    with rude_web(saying(head)) as web, pytest.raises(BadAddress, match="how large it is"):
        look_at_web(web.url, {})


def test_a_store_of_the_web_reads_and_does_nothing_else():
    with rude_web(_without_head) as web:
        store = open_store(f"http://{web.host}")
        assert isinstance(store, WebStore)
        with store.open("a.jpg") as file:
            file.seek(7)
            assert file.read() == b"789"
        assert store.exists("a.jpg")
        for act in (
            lambda: store.put("b", b""),
            lambda: store.create("b", b""),
            lambda: store.delete("b"),
        ):
            with pytest.raises(BadAddress, match="takes no files"):
                act()
        for look in (store.list, store.level):
            with pytest.raises(BadAddress, match="no folders"):
                look("x")
    with rude_web(saying("404 Not Found\nContent-Length: 0")) as web:
        assert not open_store(f"http://{web.host}").exists("a.jpg")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("head", "more", "error_class", "words"),
    [
        ("401 U", "", "forbidden", "without a signature.*client_kwargs.headers"),
        ("403 F", "", "forbidden", "without a signature.*run the same command"),
        ("403 F", SIGNED, "forbidden", r"has expired \(it ended at 2023-11-14 22:13:20 UTC\)"),
        ("403 F", "?token=HUSH-token", "forbidden", "not accepted.*List it with a new one"),
        ("400 B", SIGNED, "forbidden", "has expired"),
        ("400 B", "", "io", "HTTP 400"),
        ("404 N", SIGNED, "not_found", "no such file"),
        ("410 G", "", "not_found", "no such file.*where a signature is missing"),
        ("429 T", "", "throttled", "busy"),
        ("503 S", "", "throttled", "busy"),
        ("500 I", "", "io", "HTTP 500"),
    ],
)
def test_a_refusal_says_what_it_means_and_what_to_do(head, more, error_class, words):
    body = b"<Error><Code>SomeCode</Code><Message>HUSH-token</Message></Error>"
    head += f" HUSH-token\nContent-Length: {len(body)}"
    with rude_web(saying(head, body)) as web:
        unit = Unit(web.url, "image", whole_uri=web.url + more if more else None)
        with pytest.raises(UnitFailed, match=words) as failed:
            fetch(lambda: read_unit(unit, {}), Patience(1, 0.0))
    assert failed.value.error_class == ErrorClass(error_class)
    assert failed.value.message.partition("(")[2].startswith("SomeCode)")
    assert "HUSH" not in failed.value.message


def test_errors_go_from_one_process_to_another():
    error = pickle.loads(pickle.dumps(WebForbidden("HTTP 403", 403, 5.0)))
    assert (error.status, error.retry_after_s, str(error)) == (403, 5.0, "HTTP 403")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_asked_then_and_not_before(status):
    times: list[float] = []

    def busy_once(request: str, connection: socket.socket) -> None:
        times.append(time.monotonic())
        answer = saying("200 OK\nContent-Length: 2", b"ok")
        if len(times) == 1:
            answer = saying(f"{status} Busy\nRetry-After: 1\nContent-Length: 0")
        answer(request, connection)

    with rude_web(busy_once) as web:
        assert fetch(lambda: read_web(web.url, {}), Patience(2, 0.0)) == b"ok"
    assert times[1] - times[0] >= 1


def test_a_wish_of_a_server_may_be_a_date_and_is_not_followed_for_ever(monkeypatch):
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=3600), usegmt=True)
    error = refused(saying(f"503 Busy\nRetry-After: {later}\nContent-Length: 0"))
    wish = retry_after_s(error)
    assert wish is not None
    assert 3500 < wish <= 3600
    for odd in ("soon", "", "-5", "Wed, 99 Foo"):
        assert retry_after_s(refused(saying(f"503 Busy\nRetry-After: {odd}"))) is None
    pauses: list[float] = []
    monkeypatch.setattr("sam2ray.patience.sleep", pauses.append)
    with pytest.raises(WebError):
        patiently(lambda: _raise(error), Patience(2, 0.0), lambda last, _: last)
    assert pauses == [30.0]


def test_a_store_that_speaks_through_a_client_of_its_own_is_heard_as_well():
    headers = {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "7"}}
    error = ClientError({"Error": {}, "ResponseMetadata": headers}, "GetObject")  # pyright: ignore[reportArgumentType]
    assert retry_after_s(error) == 7.0
    assert retry_after_s(ClientError({"Error": {}}, "GetObject")) is None


def _raise(error: Exception) -> None:
    raise error


# ---------------------------------------------------------------- redirects


def _to(location: str) -> Answer:
    return saying(f"302 Found\nLocation: {location}\nContent-Length: 0")


@pytest.mark.parametrize(
    "location", ["file://{path}", "ftp://127.0.0.1:1/x", "data:,x", "gopher://x"]
)
def test_a_redirect_leads_to_nothing_but_the_web(tmp_path: Path, location):
    secret = tmp_path / "HUSH.txt"
    secret.write_text("of this machine")
    error = refused(_to(location.format(path=secret)))
    assert "HTTP 302" in str(error)


def test_a_redirect_in_circles_is_left(tmp_path: Path):
    assert "circles" in str(refused(_to("/a.jpg?token=HUSH")))


def test_a_redirect_to_what_is_no_address_does_not_show_it():
    refused(_to("http://me:HUSH@[broken/a"))
    refused(_to("http://host:HUSH/a"))


def test_what_is_private_is_told_to_no_other_host():
    headers = {"Authorization": "Bearer HUSH-bearer", "X-Own": "HUSH-own"}
    with rude_web(saying("200 OK\nContent-Length: 2", b"ok")) as other:
        for has_headers in (True, False):
            with rude_web(_to(f"http://{other.host}/b.jpg")) as web:
                told = {"client_kwargs": {"headers": headers}, "hosts": [web.host]}
                more = {"http": told} if has_headers else {}
                url = web.url if more else web.url.replace("http://", "http://me:HUSH@")
                assert read_web(url, more) == b"ok"
                assert "HUSH" in web.heads[0] or "Basic bWU6SFVTSA==" in web.heads[0]
    assert len(other.heads) == 2
    assert all("Authorization" not in head and "HUSH" not in head for head in other.heads)


def test_what_is_private_goes_along_on_its_own_host():
    def moved(request: str, connection: socket.socket) -> None:
        answer = _to("/1" if "GET /a" in request else "/2")
        if "GET /2" in request:
            answer = saying("200 OK\nContent-Length: 2", b"ok")
        answer(request, connection)

    with rude_web(moved) as web:
        assert read_web(web.url.replace("http://", "http://me:p%40ss@"), {}) == b"ok"
        assert len(web.heads) == 3
        assert all("Authorization: Basic bWU6cEBzcw==" in head for head in web.heads)
        assert all("p%40ss" not in head and "p@ss" not in head for head in web.heads)


def test_a_range_is_asked_for_where_a_redirect_leads():
    with rude_web(_ranges(b"0123456789")) as other, rude_web(_to(f"http://{other.host}/b")) as web:
        assert read_web_range(web.url, {}, 2, 3) == b"234"


# ---------------------------------------------------------------- addresses


def test_addresses_may_have_spaces_and_letters_of_any_language():
    with rude_web(saying("200 OK\nContent-Length: 2", b"ok")) as web:
        assert read_web(f"http://{web.host}/a b/ö%20.jpg?x=[1] 2&token=a%2Fb", {}) == b"ok"
        assert web.heads[0].startswith("GET /a%20b/%C3%B6%20.jpg?x=[1]%202&token=a%2Fb HTTP/1.1")


@pytest.mark.parametrize("uri", ["http://me:HUSH@", "http://me:HUSH@[bad", "http://h:port/a"])
def test_what_is_no_address_is_not_repeated(uri):
    with pytest.raises(OSError) as raised:
        read_web(uri, {})
    assert "HUSH" not in str(raised.value)


def test_a_secret_outside_of_the_web_fails_its_unit_alone():
    unit = Unit("s3://b/a.jpg", "image", whole_uri="s3://KEY:HUSH@b/a.jpg")
    with pytest.raises(UnitFailed, match="credentials in the environment") as failed:
        read_unit(unit, {})
    assert failed.value.error_class is ErrorClass.FORBIDDEN
    assert "HUSH" not in str(failed.value)
