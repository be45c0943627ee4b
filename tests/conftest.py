"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

MEDIA = Path(os.environ.get("SAM2RAY_MEDIA", Path(__file__).parents[2] / "shared" / "media"))


# How long an example takes says how busy the machine is, and nothing about the code. Examples are
# the same each time, so that a change is not blamed for what it did not do: `--hypothesis-profile
# search` looks for others.
settings.register_profile("sam2ray", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("sam2ray")

# Models in tests are small: a second thread would mostly wait, for ever so long on a busy machine.
torch.set_num_threads(1)


_LONGEST = (
    "test_breaking",
    "test_breaking_s3",
    "test_compilation",
    "test_cluster",
    "test_video_tracker_reference",
    "test_breaking_corpus",
    "test_training_on_s3",
    "test_breaking_units",
    "test_modes_run",
    "test_demo",
    "test_network_reference",
    "test_run",
    "test_video_tracker_memory",
    "test_mask_generator_reference",
    "test_breaking_disk",
)
"""Files of slow tests that take longest: whoever begins with them is not left alone with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first; all others stay in their order."""
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture
def media() -> Path:
    """The folder of example pictures and videos, which is not part of the repository."""
    if not (MEDIA / "truck.jpg").exists():
        pytest.skip(f"no example media in {MEDIA}; point SAM2RAY_MEDIA at them")
    return MEDIA


@pytest.fixture(scope="session")
def two_cpus() -> Iterator[None]:
    """Ray with two CPUs, as on the smallest machine that a job must run on: one to a process."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
        yield
        ray.shutdown()
