"""An S3 server that people run, for tests: Ceph, with one monitor, one disk and one gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from s3_server import ENVIRONMENT, free_port

# Those of the other server: Ray, which has them in its environment, can be shared by tests of both.
KEY, SECRET = ENVIRONMENT["AWS_ACCESS_KEY_ID"], ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_HOST = "127.0.0.1"
_STARTS_WITHIN_S = 120


def is_installed() -> bool:
    """Whether everything that a cluster is made of is on this machine."""
    return all(shutil.which(program) for program in PROGRAMS)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a cluster keeps its things, and where it listens."""

    folder: Path
    cluster_id: str
    monitor_port: int
    gateway_port: int

    @property
    def config(self) -> Path:
        return self.folder / "ceph.conf"

    @property
    def monitor(self) -> str:
        return f"v1:{_HOST}:{self.monitor_port}"

    def sections(self) -> dict[str, dict[str, object]]:
        """The least that makes one process of each kind a healthy cluster."""
        nobody_asks = {f"auth {side} required": "none" for side in ("cluster", "service", "client")}
        one_copy = {
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 8,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "mon allow pool size one": "true",
            "mon max pg per osd": 1000,
        }
        disks_of_test_machines_are_full = {
            "mon data avail warn": 2,
            "mon data avail crit": 1,
            "mon osd full ratio": 0.99,
        }
        places = {
            "keyring": self.folder / "keyring",
            "run dir": self.folder,
            "admin socket": self.folder / "$name.asok",
            "log file": self.folder / "$name.log",
        }
        return {
            "global": {
                "fsid": self.cluster_id,
                "mon host": self.monitor,
                "mon initial members": "a",
                "public addr": _HOST,
                "cluster addr": _HOST,
                "ms bind ipv4": "true",
                "osd objectstore": "memstore",
                "memstore device bytes": 2 << 30,
                **nobody_asks,
                **one_copy,
                **disks_of_test_machines_are_full,
                **places,
            },
            "mon": {"mon data": self.folder / "monitor"},
            "osd": {"osd data": self.folder / "disk"},
            "client.rgw": {
                "rgw data": self.folder / "gateway",
                "rgw frontends": f"beast endpoint={_HOST}:{self.gateway_port}",
                "rgw dns name": "localhost",
                "rgw thread pool size": 16,
            },
        }

    def write(self) -> None:
        """Make the folders and the config."""
        for name in ("monitor", "disk", "gateway"):
            (self.folder / name).mkdir()
        (self.folder / "keyring").touch()
        lines: list[str] = []
        for section, values in self.sections().items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")


class _Cluster:
    def __init__(self, layout: _Layout, stack: ExitStack) -> None:
        self._layout, self._stack = layout, stack

    def ask(self, program: str, *words: str) -> str:
        """What a command prints that must succeed."""
        done = self._run(program, *words)
        assert done.returncode == 0, f"{program} {words}: {done.stderr}"
        return done.stdout

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "-c", str(self._layout.config), *words],
            capture_output=True,
            text=True,
            timeout=_STARTS_WITHIN_S,
            check=False,
        )

    def start(self, program: str, *words: str) -> None:
        """Start a daemon that ends with the cluster."""
        process = subprocess.Popen(
            [program, "-c", str(self._layout.config), "--foreground", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(_end, process)

    def _disk_is_up(self) -> bool:
        """A monitor that has just come up refuses some questions: it is asked again."""
        status = self._run("ceph", "osd", "stat", "-f", "json")
        return status.returncode == 0 and json.loads(status.stdout)["num_up_osds"] == 1

    def start_all(self) -> None:
        """Monitor, disk and gateway, each once the one before is there."""
        layout = self._layout
        map_file, keyring = str(layout.folder / "monmap"), str(layout.folder / "keyring")
        made = ("--create", "--addv", "a", f"[{layout.monitor}]", "--fsid", layout.cluster_id)
        self.ask("monmaptool", *made, map_file)
        self.ask("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file, "--keyring", keyring)
        self.start("ceph-mon", "-i", "a")
        disk = str(uuid4())
        self.ask("ceph", "osd", "new", disk)
        self.ask("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        place = ("1.0", "root=default", "host=here")
        self.ask("ceph", "osd", "crush", "add", "osd.0", *place)
        self.start("ceph-osd", "-i", "0")
        _wait(self._disk_is_up)
        self.start("radosgw", "-n", "client.rgw")
        _wait(lambda: _answers(layout.gateway_port))
        names = ("--uid=tests", "--display-name=tests")
        keys = (f"--access-key={KEY}", f"--secret-key={SECRET}")
        self.ask("radosgw-admin", "user", "create", *names, *keys)


@contextmanager
def ceph_server(folder: Path) -> Iterator[str]:
    """The address of a gateway that is up; all of it ends with the context."""
    layout = _Layout(folder, str(uuid4()), free_port(), free_port())
    layout.write()
    with ExitStack() as stack:
        _Cluster(layout, stack).start_all()
        yield f"http://{_HOST}:{layout.gateway_port}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _wait(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not is_there():
        assert time.monotonic() < deadline, "Ceph does not come up"
        time.sleep(0.2)
