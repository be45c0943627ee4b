"""Videos are brought to this machine whole, in pieces, and nothing of them is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fsspec
import pytest
from label_bench import units_of
from make_archive import jpeg, tar_bytes, web, write_parquet
from make_video import write_video

from sam2ray.errors import UnitFailed
from sam2ray.readers.sources import open_source
from sam2ray.records import ErrorClass, Unit
from sam2ray.stages import clip_files
from sam2ray.stages.clip_files import Abandoned, ClipFile, bring, check_header
from sam2ray.stages.fetch import Patience

ONCE = Patience(attempts=1, first_pause_s=0.0)
MANY = 1 << 30


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 20).read_bytes()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go; whatever a test does, it leaves nothing there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def fetched(unit: Unit, temporary: Path) -> bytes:
    file = bring(unit, {}, ONCE, MANY)
    content = file.path.read_bytes()
    assert file.path.is_relative_to(temporary)
    assert file.path.suffix == ".mp4"
    file.close()
    assert list(temporary.iterdir()) == []
    return content


def refusal(unit: Unit) -> UnitFailed:
    with pytest.raises(UnitFailed) as failure:
        bring(unit, {}, ONCE, MANY)
    return failure.value


def test_a_file_of_this_machine_stays_where_it_is(tmp_path, temporary, video):
    path = tmp_path / "in" / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(video)
    for uri in (str(path), path.as_uri()):
        (unit,) = units_of(uri)
        file = bring(unit, {}, ONCE, MANY)
        assert file == ClipFile(path, "MP4", None) or file.path == path
        assert list(temporary.iterdir()) == []
        file.close()
    assert path.read_bytes() == video


@pytest.mark.parametrize("piece_bytes", [700, 1 << 24])
def test_a_file_of_a_store_comes_in_pieces(tmp_path, temporary, video, monkeypatch, piece_bytes):
    monkeypatch.setattr(clip_files, "PIECE_BYTES", piece_bytes)
    uri = f"memory://{tmp_path.name}/clip.mp4"
    fsspec.filesystem("memory").pipe_file(uri, video)
    (unit,) = units_of(uri)
    assert fetched(unit, temporary) == video
    unsized = Unit(uri, "video")  # as a list of addresses has it
    assert fetched(unsized, temporary) == video


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_member_of_a_shard_is_copied_out_of_it(tmp_path, temporary, video, where):
    shard = tar_bytes([("a.jpg", jpeg()), ("clip.mp4", video), ("z.json", b"{}")])
    uri = str(tmp_path / "x.tar") if where == "local" else f"memory://{tmp_path.name}/x.tar"
    with fsspec.open(uri, "wb") as file:
        file.write(shard)
    (unit,) = [unit for unit in units_of(uri) if unit.kind == "video"]
    assert fetched(unit, temporary) == video


def test_a_video_in_a_parquet_table_is_copied_out_of_it(tmp_path, temporary, video):
    path = write_parquet(
        tmp_path / "x.parquet", {"video": [{"bytes": video, "path": "clip.mp4"}], "n": [1]}
    )
    (unit,) = open_source(str(path)).all_units()
    assert isinstance(unit, Unit)
    unit = Unit(
        **{name: getattr(unit, name) for name in Unit.__dataclass_fields__} | {"kind": "video"}
    )
    file = bring(unit, {}, ONCE, MANY)
    assert file.path.read_bytes() == video
    file.close()
    assert list(temporary.iterdir()) == []


def test_a_video_of_the_web_is_fetched(temporary, video):
    with web({"a/clip.mp4": video}) as server:
        assert (
            fetched(Unit(f"{server.url}/a/clip.mp4?signature=secret", "video"), temporary) == video
        )
        server.statuses["a/clip.mp4"] = 403
        failed = refusal(Unit(f"{server.url}/a/clip.mp4?signature=secret", "video"))
        assert failed.error_class is ErrorClass.FORBIDDEN
        assert "secret" not in failed.message


def test_what_is_gone_or_has_changed_is_said(tmp_path, video):
    path = tmp_path / "clip.mp4"
    path.write_bytes(video)
    (unit,) = units_of(path)
    path.write_bytes(video + b"more")
    assert refusal(unit).error_class is ErrorClass.IO
    path.unlink()
    assert refusal(Unit(str(tmp_path / "other.mp4"), "video", length=9)).error_class is (
        ErrorClass.NOT_FOUND
    )


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, temporary, video, monkeypatch):
    monkeypatch.setattr(clip_files, "PIECE_BYTES", 700)
    (tmp_path / "x.tar").write_bytes(tar_bytes([("clip.mp4", video)])[: len(video) // 2])
    whole = Unit(str(tmp_path / "x.tar"), "video", "clip.mp4", offset=512, length=len(video))
    assert refusal(whole).error_class is ErrorClass.TRUNCATED
    assert list(temporary.iterdir()) == []


def test_a_copy_that_nobody_waits_for_ends(tmp_path, temporary, video, monkeypatch):
    monkeypatch.setattr(clip_files, "PIECE_BYTES", 700)
    uri = f"memory://{tmp_path.name}/clip.mp4"
    fsspec.filesystem("memory").pipe_file(uri, video)
    came = []

    def on_piece() -> None:
        came.append(len(came))
        if len(came) == 2:
            raise Abandoned

    with pytest.raises(Abandoned):
        bring(Unit(uri, "video", length=len(video)), {}, ONCE, MANY, on_piece)
    assert came == [0, 1]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("uri", ["clip.mp4", "memory://{}/clip.mp4", "x.tar"])
def test_a_video_beyond_the_limit_is_refused_before_it_is_read(tmp_path, video, temporary, uri):
    (tmp_path / "clip.mp4").write_bytes(video)
    (tmp_path / "x.tar").write_bytes(tar_bytes([("clip.mp4", video)]))
    if uri.startswith("memory"):
        uri = uri.format(tmp_path.name)
        fsspec.filesystem("memory").pipe_file(uri, video)
        unit = Unit(uri, "video")
    else:
        (unit,) = units_of(str(tmp_path / uri))
    with pytest.raises(UnitFailed, match=f"{len(video)} bytes, more than decode.video.max_bytes"):
        bring(unit, {}, ONCE, len(video) - 1)
    bring(unit, {}, ONCE, len(video)).close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("a/b c\n$(rm).mp4", "b_c___rm_.mp4"),
        (".hidden.mp4", "hidden.mp4"),
        ("...", "video"),
        ("x" * 300 + ".mp4", "x" * 96 + ".mp4"),
    ],
)
def test_hostile_names_become_plain_ones(tmp_path, video, member, name):
    (tmp_path / "x.tar").write_bytes(bytes(512) + video)
    unit = Unit(str(tmp_path / "x.tar"), "video", member, offset=512, length=len(video))
    file = bring(unit, {}, ONCE, MANY)
    assert file.path.name == name
    file.close()


def test_a_video_with_a_side_beyond_the_limit_is_refused_by_its_header(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 2, size=(64, 256))
    check_header(path, 256)
    with pytest.raises(UnitFailed, match="256 pixels") as failure:
        check_header(path, 255)
    assert failure.value.error_class is ErrorClass.TOO_LARGE
