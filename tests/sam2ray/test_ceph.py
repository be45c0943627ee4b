"""Ceph, an S3 server that people run and that is not Amazon's: from a run to a compacted output."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import fsspec
import pytest
from ceph_server import ceph_server, is_installed
from s3_runs import Bucket, Runner
from s3_server import BUCKET, ENVIRONMENT
from shared_ray import SharedRay

from sam2ray.compact import compact_output

pytest.importorskip("s3fs")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not is_installed(), reason="needs radosgw, ceph-mon, ceph-osd and ceph-common of Debian"
    ),
]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with (
        ceph_server(tmp_path_factory.mktemp("ceph")) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=url).mkdir(BUCKET)
        yield Bucket(url, f"s3://{BUCKET}/ceph")


def test_of_many_claims_one_succeeds_and_only_once(bucket: Bucket):
    store = bucket.store("claims")
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: won.append(store.create("a", b"%d" % n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
    assert len(won) == 8
    assert not store.create("a", b"late")


def test_a_run_on_ceph_is_proved_repeated_and_compacted(bucket: Bucket, ray: SharedRay):
    source, output = bucket.put_pictures("source", 8), bucket.store("output")
    runner = Runner(ray.address)
    ended = runner.run(source, output.uri, bucket.url)
    assert ended.code == 0, ended.text
    assert bucket.complaints("output") == []
    before = {entry.name: entry.version for entry in output.list("masks")}
    assert len(before) == 2
    again = runner.run(source, output.uri, bucket.url)
    assert again.code == 0, again.text
    assert {entry.name: entry.version for entry in output.list("masks")} == before
    compact_output(output, bucket.store("compacted"), target_bytes=1 << 20)
    assert bucket.complaints("compacted") == []
    assert bucket.masks("compacted") == bucket.masks("output") != []
