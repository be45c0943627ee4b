"""Runs from a bucket to a bucket, as real processes, on a store that breaks in many ways."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from faulty_store import Faults, FaultyStore, Request, every, faulty_store
from make_video import write_video
from s3_runs import Bucket, Masks, Runner, end_of, kill_when
from s3_server import BUCKET, ENVIRONMENT, s3_server
from shared_ray import SharedRay

import sam2ray
from sam2ray.manifest import manifest_parts
from sam2ray.root import SUCCESS
from sam2ray.storage import Options

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

KEY, SECRET = "AKIAOFTHESETESTS", "secret-of-these-tests"
IN_A_CONFIG = (f"storage.s3.key={KEY}", f"storage.s3.secret={SECRET}")
COUNT = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def bad() -> Iterator[FaultyStore]:
    with (
        s3_server() as url,
        faulty_store(url, seed=1) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=url).mkdir(BUCKET)
        yield store


@pytest.fixture(scope="module")
def runner(ray: SharedRay) -> Runner:
    return Runner(ray.address)


@pytest.fixture(scope="module")
def bucket(bad: FaultyStore) -> Bucket:
    return Bucket(bad.upstream.geturl(), f"s3://{BUCKET}/breaking")


@pytest.fixture(scope="module")
def source(bucket: Bucket) -> str:
    return bucket.put_pictures("source", COUNT)


@pytest.fixture(scope="module")
def undisturbed(bucket: Bucket, source: str, runner: Runner, bad: FaultyStore) -> Masks:
    bad.faults = Faults()
    ended = runner.run(source, bucket.store("undisturbed").uri, bad.url)
    assert ended.code == 0, ended.text
    assert bucket.complaints("undisturbed") == []
    masks = bucket.masks("undisturbed")
    assert len({uri for uri, _ in masks}) == COUNT
    return masks


@pytest.fixture(autouse=True)
def _no_faults_yet(bad: FaultyStore, undisturbed: Masks) -> None:
    bad.faults = Faults()
    bad.injected.clear()


def of_source(request: Request) -> bool:
    return request.is_in(f"{BUCKET}/breaking/source/")


def test_a_store_that_fails_again_and_again_changes_no_mask_and_learns_no_secret(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    bad.faults = Faults(
        slow_down=0.2, internal_error=0.05, reset=0.02, lost_answer=0.02, truncated=0.04
    )
    ended = runner.run(source, bucket.store("failing").uri, bad.url, *IN_A_CONFIG)
    assert ended.code == 0, ended.text
    assert sum(bad.injected.values()) > 40
    assert set(bad.injected) >= {"slow_down", "internal_error", "reset", "truncated"}
    assert bucket.complaints("failing") == []
    assert bucket.masks("failing") == undisturbed
    everything = bucket.everything_under("failing") + ended.text.encode()
    assert KEY.encode() not in everything
    assert SECRET.encode() not in everything


def test_a_slow_store_that_hangs_now_and_then_is_asked_again_in_time(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    bad.faults = Faults(hang=0.05, pause_s=0.01)
    start = time.monotonic()
    ended = runner.run(source, bucket.store("hanging").uri, bad.url, "fetch.timeout_s=2")
    assert ended.code == 0, ended.text
    assert bad.injected["hang"] > 3
    assert time.monotonic() - start < 240
    assert bucket.complaints("hanging") == []
    assert bucket.masks("hanging") == undisturbed


def test_a_credential_for_the_source_that_expires_stops_the_run_and_loses_nothing(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    output = bucket.store("expired").uri
    settings = ("limits.stop_window=6", "limits.max_attempts=1")  # what is in vain costs none
    bad.faults = Faults(expired_after=12, where=of_source)
    ended = runner.run(source, output, bad.url, *settings)
    assert ended.code == 4, ended.text
    assert "forbidden" in ended.text
    assert bad.injected["expired"] > 0
    failed = [row for row in bucket.outcomes("expired") if row["status"] == "failed"]
    assert {(row["error_class"], row["retryable"]) for row in failed} == {("forbidden", True)}

    bad.faults = Faults()
    ended = runner.run(source, output, bad.url, *settings)
    assert ended.code == 0, ended.text
    assert bucket.complaints("expired") == []
    assert bucket.masks("expired") == undisturbed


@pytest.mark.long
def test_whatever_ends_a_run_the_same_command_goes_on(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    output = bucket.store("ended").uri

    def commits(request: Request) -> bool:
        return request.method == "PUT" and request.is_in(f"{BUCKET}/breaking/ended/masks/")

    bad.faults = Faults(reset=1, where=commits)
    ended = runner.run(source, output, bad.url, "fetch.attempts=2")
    assert ended.code == 1, ended.text
    assert ended.last_words.startswith(f"sam2ray: {output}/masks/")
    assert "could not be written" in ended.last_words
    assert bucket.masks("ended") == []

    bad.faults = Faults(expired_after=100)
    ended = runner.run(source, output, bad.url)
    assert ended.code == 1, ended.text
    assert "Mend the credentials" in ended.last_words

    bad.faults = Faults()
    ended = runner.run(source, output, bad.url)
    assert ended.code == 0, ended.text
    assert bucket.complaints("ended") == []
    assert bucket.masks("ended") == undisturbed


def test_a_run_waits_for_an_output_that_is_away_for_a_while(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    output = bucket.store("waiting").uri

    def writes(request: Request) -> bool:
        return request.method == "PUT" and request.is_in(f"{BUCKET}/breaking/waiting/masks/")

    bad.faults = Faults(reset=1, where=writes)
    process = runner.start(source, output, bad.url)
    deadline = time.monotonic() + 200
    while bad.injected["reset"] < 4:
        assert process.poll() is None, end_of(process).text
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert bucket.masks("waiting") == []
    bad.faults = Faults()
    ended = end_of(process)
    assert ended.code == 0, ended.text
    assert bucket.complaints("waiting") == []
    assert bucket.masks("waiting") == undisturbed


def _is_whole(bucket: Bucket, output: str, undisturbed: Masks) -> None:
    assert bucket.complaints(output) == []
    assert bucket.masks(output) == undisturbed
    outcomes = bucket.outcomes(output)
    assert {(row["status"], row["attempt"]) for row in outcomes} == {("ok", 1)}


@pytest.mark.long
def test_a_driver_that_is_killed_at_random_four_times_in_a_row_loses_and_repeats_nothing(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    """Moments are counted in what the store is asked: anything first, results to be kept then.

    It falls silent at that moment, so that a driver on its last legs does not get everything done.
    """
    output, chance = bucket.store("killed").uri, random.Random(7)

    def results(request: Request) -> bool:
        return request.method == "PUT" and request.is_in(f"{BUCKET}/breaking/killed/masks/")

    for what, last in ((every, 140), (every, 140), (results, 3), (results, 3)):
        bad.injected.clear()
        bad.faults = Faults(where=what, silent_after=chance.randint(1, last))
        kill_when(lambda: bad.injected.total() > 0, runner.start(source, output, bad.url))
    assert 0 < len(bucket.outcomes("killed")) < COUNT

    bad.faults = Faults()
    ended = runner.run(source, output, bad.url)
    assert ended.code == 0, ended.text
    _is_whole(bucket, "killed", undisturbed)


@pytest.mark.long
def test_a_driver_that_is_killed_while_it_lists_or_writes_manifest_or_mark_leaves_no_half_of_it(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    """The store keeps the driver waiting for one answer, so that this is what it dies in."""
    here, has_lease = bucket.store("moments"), threading.Event()

    def putting(name: str) -> Callable[[Request], bool]:
        wanted = re.compile(f"/{BUCKET}/breaking/moments/{name}")
        return lambda request: request.method == "PUT" and bool(wanted.match(request.path))

    takes_lease, manifest, mark = map(
        putting, ("_sam2ray/lease/", r"_sam2ray/manifest/[^/]+\.json", SUCCESS)
    )

    def listing(request: Request) -> bool:
        if takes_lease(request):
            has_lease.set()
        is_listing = request.method == "GET" and "prefix=breaking%2Fsource" in request.path
        return is_listing and has_lease.is_set()

    def kill_in(what: Callable[[Request], bool], **fault: float) -> None:
        bad.injected.clear()
        bad.faults = Faults(where=what, **fault)
        kill_when(lambda: bad.injected.total() > 0, runner.start(source, here.uri, bad.url))

    kill_in(listing, hang=1)
    assert list(here.list("_sam2ray/manifest")) == []
    kill_in(manifest, hang=1)
    assert manifest_parts(here) == []
    assert len(list(here.list("_sam2ray/manifest"))) == 1
    kill_in(manifest, unanswered=1)
    assert len(manifest_parts(here)) == 1
    assert bucket.masks("moments") == []
    kill_in(mark, hang=1)
    assert bucket.masks("moments") == undisturbed
    assert not here.exists(SUCCESS)
    kill_in(mark, unanswered=1)
    assert here.exists(SUCCESS)

    bad.faults = Faults()
    ended = runner.run(source, here.uri, bad.url)
    assert ended.code == 0, ended.text
    assert len(manifest_parts(here)) == 1
    assert here.exists(SUCCESS)
    _is_whole(bucket, "moments", undisturbed)


@pytest.mark.long
def test_of_two_runs_at_once_on_a_bucket_one_is_refused_and_the_other_goes_on(
    bad: FaultyStore, bucket: Bucket, source: str, runner: Runner, undisturbed: Masks
):
    output = bucket.store("twice").uri
    one, other = (runner.start(source, output, bad.url) for _ in range(2))
    ends = sorted([end_of(one), end_of(other)], key=attrgetter("code"))
    assert [ended.code for ended in ends] == [0, 2], ends
    assert re.search("is writing to it|took it over at this moment", ends[1].text)
    _is_whole(bucket, "twice", undisturbed)


def test_clips_go_from_bucket_to_bucket_on_a_failing_store_as_on_a_disk(
    bad: FaultyStore, bucket: Bucket, runner: Runner, tmp_path: Path
):
    archive, remote = tmp_path / "archive", bucket.store("clips")
    archive.mkdir()
    for number, length in enumerate((5, 9)):
        name = f"{number}.mp4"
        remote.put(name, write_video(archive / name, length).read_bytes())
    ended = runner.run(str(archive), str(tmp_path / "out"), bad.url)
    assert ended.code == 0, ended.text
    bad.faults = Faults(slow_down=0.2, internal_error=0.05, reset=0.05, truncated=0.05)
    ended = runner.run(remote.uri, bucket.store("frames").uri, bad.url)
    assert ended.code == 0, ended.text
    assert sum(bad.injected.values()) > 5
    assert bucket.complaints("frames") == []
    found = _of_frames(bucket.store("frames").uri, bucket.options)
    assert {(name, frame) for name, frame, _ in found} == {
        (f"{number}.mp4", frame) for number, length in enumerate((5, 9)) for frame in range(length)
    }
    assert found == _of_frames(str(tmp_path / "out"))


def _of_frames(output: str, options: Options | None = None) -> list[tuple[str, int, str]]:
    columns = ["source_uri", "frame_index", "rle_counts"]
    rows = sam2ray.open(output, options).masks(columns).read_all().to_pylist()
    return sorted(
        (PurePosixPath(row["source_uri"]).name, row["frame_index"], row["rle_counts"])
        for row in rows
    )
