"""Ray as a process of its own that runs join one after another, and faults to arm it with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "support" / "faults"

_CLUSTER = """
import ray, sys
cpus = int(sys.argv[1])
here = ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
print(here.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class SharedRay:
    """Where it is, and a folder in which tests and its processes tell each other of faults."""

    address: str
    folder: Path

    def arm(self, fault: str) -> None:
        """Let a fault happen once, to whoever gets there first."""
        (self.folder / fault).touch()

    def done_by(self, fault: str) -> str:
        """What the process had done to which the fault happened."""
        return (self.folder / f"{fault}.done").read_text()


@contextmanager
def ray_cluster(cpus: int = 2, **environment: str) -> Iterator[str]:
    """The address of a cluster; what it starts has this process's environment, and more."""
    own = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER, str(cpus)],
        env=os.environ | own | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
    finally:
        process.communicate(timeout=60)


@contextmanager
def shared_ray(folder: Path, cpus: int = 2, **environment: str) -> Iterator[SharedRay]:
    """A cluster whose processes know of units that break them, and of armed faults."""
    paths = os.pathsep.join([str(FAULTS), str(ROOT)])
    known = {"PYTHONPATH": paths, "ARMED_FAULTS": str(folder)}
    with ray_cluster(cpus, **known | environment) as address:
        yield SharedRay(address, folder)
