"""A Ray cluster of several nodes on this machine, made of real processes that a test may kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil
from ray.job_submission import JobDetails, JobSubmissionClient

# Outside the ports that Ray gives to workers by itself, and below those of the kernel.
PORTS = range(24000, 30000)
WORKER_PORTS = 100  # of each node: nodes with one address must not share them
STORE_BYTES = 150 << 20


@dataclass(frozen=True, slots=True)
class Node:
    """What `ray start --block` started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def raylet(self) -> psutil.Process:
        """The process that is the node: whatever runs there ends with it."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        (raylet,) = (child for child in children if child.name() == "raylet")
        return raylet


@dataclass
class RealCluster:
    """A head that does no work, and nodes that do."""

    folder: Path
    ports: Iterator[int]
    url: str = ""
    gcs_address: str = ""
    nodes: list[Node] = field(default_factory=list)

    @cached_property
    def client(self) -> JobSubmissionClient:
        """The job API, over HTTP."""
        return JobSubmissionClient(self.url)

    def node(self, name: str) -> Node | None:
        """The node of a name."""
        return next((node for node in self.nodes if node.name == name), None)

    def add_head(self) -> None:
        """Start the node of drivers: it has no CPU that work could book."""
        port, dashboard = next(self.ports), next(self.ports)
        self.url, self.gcs_address = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
        self._start(
            "head",
            "--head",
            f"--port={port}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={next(self.ports)}",
            f"--temp-dir={self.folder}",
            "--num-cpus=0",
        )

    def add_worker(self, name: str, cpus: int, *options: str) -> Node:
        """Start one more node, which other nodes do not wait for."""
        return self._start(name, f"--address={self.gcs_address}", f"--num-cpus={cpus}", *options)

    def _start(self, name: str, *options: str) -> Node:
        log = self.folder / f"{name}.log"
        first = _free_block(self.ports)
        common = (
            "--block",
            "--node-ip-address=127.0.0.1",
            "--disable-usage-stats",
            f"--node-name={name}",
            f"--object-store-memory={STORE_BYTES}",
            f"--min-worker-port={first}",
            f"--max-worker-port={first + WORKER_PORTS - 1}",
            f"--dashboard-agent-listen-port={next(self.ports)}",
        )
        command = [str(Path(sys.executable).with_name("ray")), "start", *options, *common]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd=self.folder)
        node = Node(name, process, log)
        self.nodes.append(node)
        _wait_until_up(node, self.nodes[0])  # two that start at once fight for one socket
        return node

    def stop(self) -> None:
        """End what was started here and nothing else, at once: a polite end takes half a minute."""
        family = [child for node in self.nodes for child in _family(node)]
        for process in family:
            with suppress(psutil.NoSuchProcess):  # what runs on a node ends with it
                process.kill()
        for node in self.nodes:
            node.process.kill()
            node.process.wait()


def _family(node: Node) -> list[psutil.Process]:
    if node.process.poll() is not None:
        return []
    return psutil.Process(node.process.pid).children(recursive=True)


def _wait_until_up(node: Node, head: Node) -> None:
    deadline = time.monotonic() + 120
    while "block" not in node.log.read_text():
        for needed in (head, node):
            assert needed.process.poll() is None, needed.log.read_text()
        assert time.monotonic() < deadline, node.log.read_text()
        time.sleep(0.1)


def _free_ports() -> Iterator[int]:
    start = PORTS.start + os.getpid() % (len(PORTS) // 2)
    return (port for port in range(start, PORTS.stop) if _is_free(port))


def _free_block(ports: Iterator[int]) -> int:
    first = next(ports)
    for port in ports:
        if port >= first + WORKER_PORTS - 1:
            return first
    raise AssertionError("no ports are left")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def real_cluster(cpus_of: Mapping[str, int]) -> Iterator[RealCluster]:
    """A head without CPUs and nodes with some each, in this process's environment; then it ends."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets: short names
        cluster = RealCluster(Path(folder), _free_ports())
        try:
            cluster.add_head()
            for name, cpus in cpus_of.items():
                cluster.add_worker(name, cpus)
            yield cluster
        finally:
            cluster.stop()


# ---------------------------------------------------------------- jobs


def wait_for_end(client: JobSubmissionClient, submission_id: str) -> JobDetails:
    """How a job ended."""
    deadline = time.monotonic() + 400
    while not client.get_job_status(submission_id).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(submission_id)
        time.sleep(0.3)
    return client.get_job_info(submission_id)


def kill_driver(client: JobSubmissionClient, submission_id: str) -> None:
    """End a job's driver as `kill -9` does."""
    driver = client.get_job_info(submission_id).driver_info
    assert driver is not None
    os.kill(int(driver.pid), signal.SIGKILL)
