"""An address at which no Ray cluster answers is refused in words and within seconds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sam2ray.cluster import _join
from sam2ray.cluster_address import require_cluster
from sam2ray.errors import UsageError

WAY_OUT = "Write the address of the head as `ray start --head` shows it, HOST:6379 as a rule"


@pytest.fixture
def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """The port of a server that is no Ray cluster."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def _refusal(address: str) -> str:
    with pytest.raises(UsageError) as caught:
        _join(address)
    words = str(caught.value)
    assert words.startswith(f"RAY_ADDRESS={address}: ")
    assert WAY_OUT in words
    return words


def test_an_address_where_nothing_answers_is_refused(free_port: int):
    assert "nothing answers there (Connection refused)" in _refusal(f"127.0.0.1:{free_port}")
    assert "nothing answers there (Connection refused)" in _refusal(f"ray://127.0.0.1:{free_port}")
    assert "nothing answers there (Name or service" in _refusal("nowhere.invalid:6379")


def test_a_server_that_is_no_cluster_is_refused(web_port: int):
    assert "what answers there is no Ray cluster" in _refusal(f"127.0.0.1:{web_port}")


@pytest.mark.parametrize("address", ["head", "head:port", "head:99999", ":6379", "head:0"])
def test_what_is_no_address_is_refused(address: str):
    assert "is no HOST:PORT" in _refusal(address)


def test_the_address_of_the_job_api_is_told_apart():
    assert "is where jobs are submitted" in _refusal("http://127.0.0.1:8265")


@pytest.mark.usefixtures("two_cpus")
def test_a_cluster_that_answers_is_let_through():
    import ray

    require_cluster(ray.get_runtime_context().gcs_address)


@pytest.mark.usefixtures("two_cpus")
def test_what_ray_says_against_joining_is_passed_on():
    import ray

    with pytest.raises(UsageError, match=r"it cannot be joined: .*ray\.init"):
        _join(ray.get_runtime_context().gcs_address)  # this process has joined it already


@pytest.mark.parametrize("address", ["auto", "local", ""])
def test_where_ray_looks_by_itself_nothing_is_asked(address: str):
    require_cluster(address)
