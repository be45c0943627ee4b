"""An S3 server, stores and an archive of pictures for all tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from make_clip import textured_picture
from PIL import Image
from s3_server import BUCKET, ENVIRONMENT, s3_server
from shared_ray import SharedRay, shared_ray

from sam2ray.storage import LocalStore, Options, Store, open_store


@pytest.fixture(scope="session")
def s3_options() -> Iterator[Options]:
    """How to reach a process that speaks S3 (moto, made for tests), which has one bucket."""
    import fsspec

    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        options = {"s3": {"endpoint_url": url}}
        fsspec.filesystem("s3", **options["s3"]).mkdir(BUCKET)
        yield options


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store: a folder, or a prefix on a server that speaks S3."""
    if request.param == "local":
        return LocalStore(tmp_path / "root")
    options = request.getfixturevalue("s3_options")
    return open_store(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}", options)


@pytest.fixture(scope="session")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRay]:
    """Ray for runs as processes of their own, which need not start and end one each."""
    with shared_ray(tmp_path_factory.mktemp("armed"), **ENVIRONMENT) as started:
        yield started


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small photographs, one file that is none, and one that is no picture at all."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "deep er").mkdir()
    for number in range(10):
        pixels = textured_picture(60 + 7 * number, 90 - 3 * number, number)
        place = folder / "deep er" if number % 2 else folder
        Image.fromarray(np.asarray(pixels)).save(place / f"picture {number}.png")
    (folder / "page.jpg").write_bytes(b"<!doctype html><p>not found</p>")
    (folder / "notes.txt").write_text("to be ignored")
    return folder
