"""Sources in a bucket: what a listing says of a file is what is said when it is read."""

import logging

import pytest
from make_archive import found_in, jpeg, webdataset

from sam2ray.errors import UnitFailed, UsageError
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

FILES = {
    "x/a.jpg": jpeg(),
    "x/y/b c#.jpg": jpeg(seed=2),
    "x/y/n.txt": b"1",
    "t/0.tar": webdataset(20, json_fields=False),
    "l/list.csv": b"path\n../x/a.jpg\n",
}


@pytest.fixture(scope="module")
def bucket():
    """A server, its options, and the file system to change things with."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "key",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fs = s3fs.S3FileSystem(**options)
        fs.mkdir("bucket")
        for name, content in FILES.items():
            fs.pipe_file(f"bucket/{name}", content)
        yield {"s3": options}, fs
    server.stop()


@pytest.mark.parametrize(
    ("uri", "units"),
    [
        ("s3://bucket/x", 2),
        ("s3://bucket/x/", 2),
        ("s3://bucket/x/*", 2),
        ("s3://bucket/**/*.jpg", 2),
        ("s3://bucket/x/y/b c#.jpg", 1),
        ("s3://bucket/t", 20),
        ("s3://bucket/t/0.tar", 20),
        ("s3://bucket/l/list.csv", 1),
    ],
)
def test_units_of_a_bucket_are_read_in_the_version_that_was_listed(bucket, uri, units):
    options, _ = bucket
    found, _ = found_in(open_source(uri, options))
    assert len(found) == units
    for unit in found:
        assert unit.version or uri.endswith("csv")
        assert read_unit(unit, options).startswith(b"\xff\xd8")


def test_an_object_that_changed_or_went_away_is_told_by_who_listed_it(bucket):
    options, fs = bucket
    fs.pipe_file("bucket/changing/a.jpg", b"12345")
    (unit,), _ = found_in(open_source("s3://bucket/changing", options))
    fs.pipe_file("bucket/changing/a.jpg", b"54321")
    with pytest.raises(UnitFailed, match="changed since it was indexed"):
        read_unit(unit, options)
    fs.rm("bucket/changing/a.jpg")
    with pytest.raises(FileNotFoundError):
        read_unit(unit, options)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/none", "s3://no-such-bucket/x", "s3://bucket/x/*.png"]
)
def test_what_is_not_there_is_refused(bucket, uri):
    with pytest.raises(UsageError, match="no such file or folder"):
        open_source(uri, bucket[0])


def test_folders_of_frames_are_clips(bucket):
    found, _ = found_in(open_source("s3://bucket/x", bucket[0], kind="frames"))
    assert [unit.source_uri for unit in found] == ["s3://bucket/x", "s3://bucket/x/y"]


def test_an_object_that_never_was_is_not_found(bucket):
    with pytest.raises(FileNotFoundError):
        read_unit(Unit("s3://bucket/gone.jpg", "image"), bucket[0])
