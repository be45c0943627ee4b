"""Whole runs over signed addresses: everything is fetched, and nothing that is left tells how."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from make_clip import textured_picture
from make_video import write_video
from PIL import Image
from s3_server import BUCKET
from signed_web import PASSWORD, SignedWeb, signed_web

from sam2ray.config import JobConfig
from sam2ray.config_file import load_config
from sam2ray.errors import RunCrashed
from sam2ray.processes import Job, load_labeller
from sam2ray.report import RunReport
from sam2ray.root import Selection
from sam2ray.run import run_job
from sam2ray.run_end import DONE, SOME_FAILED
from sam2ray.stages.label import Labeller
from sam2ray.storage import LocalStore, Options
from sam2ray.verify import verify_output

FIRST, RENEWED, OLD = "HUSH-first", "HUSH-renewed", "HUSH-old"
OF_S3 = "HUSHs3/secret+of"
SMALL = (
    "model.image_size=64",
    "masks.points_per_side=3",
    "masks.pred_iou_thresh=0",
    "masks.stability_score_thresh=0",
    "fetch.attempts=2",
    "fetch.backoff_s=0.01",
    "resources.actors=1",
)

pytestmark = pytest.mark.usefixtures("two_cpus")


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(textured_picture(48, 60, seed))).save(file, "png")
    return file.getvalue()


def _write_list(path: Path, addresses: Iterable[str]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "note"])
        rows.writerows([address, f"seen at {address}"] for address in addresses)


def _presigned(s3_options: Options, key: str) -> str:
    return fsspec.filesystem("s3", **s3_options["s3"]).sign(f"{BUCKET}/{key}", expiration=600)


def _config(source: Path, output: Path) -> JobConfig:
    return load_config(
        None, SMALL, source=str(source), output=str(output), model="nano", keep=("note",)
    )


def _run(config: JobConfig, load: object = load_labeller) -> RunReport:
    return run_job(config, Selection(9), lambda _before, _tally: None, load)  # pyright: ignore[reportArgumentType]


def _breaks(job: Job) -> Labeller:
    raise RuntimeError("broken on purpose")


def _everything(output: Path, said: str) -> Iterable[tuple[str, bytes]]:
    """All that a run leaves: its files as they are and unpacked, what it said, and Ray's logs."""
    yield "stdout and stderr", said.encode()
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for path in [*output.rglob("*"), *session.rglob("*")]:
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.suffix == ".parquet":
                yield str(path), repr(pq.read_table(path).to_pylist()).encode()
                yield str(path), repr(pq.read_metadata(path).metadata).encode()


def _assert_hushed(output: Path, *said: str) -> None:
    secrets = ("HUSH", PASSWORD, "aHVzaC", "X-Amz-Signature=", "AWSAccessKeyId=", "me:")
    for name, content in _everything(output, "".join(said)):
        for secret in secrets:
            assert secret.encode() not in content, f"{secret} in {name}"
    assert any(output.rglob("*.parquet"))


def _outcomes(output: Path) -> dict[str, dict]:
    rows = [r for path in (output / "units").iterdir() for r in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: row["attempt"])
    return {row["source_uri"].rpartition("/")[2]: row for row in rows}


@pytest.mark.slow
@pytest.mark.long
def test_nothing_that_a_run_leaves_tells_how_its_files_were_reached(
    tmp_path: Path, s3_options: Options, capfd: pytest.CaptureFixture[str]
):
    output, source = tmp_path / "out", tmp_path / "list.csv"
    files = {f"{n}.png": _png(n) for n in range(6)}
    files["clip.mp4"] = write_video(tmp_path / "clip.mp4", 3).read_bytes()
    bucket = fsspec.filesystem("s3", **s3_options["s3"])
    bucket.pipe_file(f"{BUCKET}/signed/m.png", _png(9))
    with signed_web(files, FIRST) as web:
        web.statuses["3.png"] = 500
        web.locations["4.png"] = f"file:///etc/passwd?token={FIRST}"
        _write_list(source, [*_addresses(web, FIRST), _presigned(s3_options, "signed/m.png")])

        with pytest.raises(RunCrashed, match="broken on purpose"):
            _run(_config(source, output), _breaks)
        _assert_hushed(output, *capfd.readouterr())

        assert _run(_config(source, output)).exit_code == SOME_FAILED
        _assert_hushed(output, *capfd.readouterr())
        found = _outcomes(output)
        ended = {name: row["error_class"] or "ok" for name, row in found.items()}
        assert ended == {
            **dict.fromkeys(("0.png?size=l", "1.png", "m.png", "clip.mp4"), "ok"),
            "2.png": "forbidden",
            "3.png": "io",
            "4.png": "io",
            "k.png": "forbidden",
        }
        words = found["2.png"]["error_message"]
        assert "expired (it ended at 2026-01-02 03:05:05 UTC). List it with a new one" in words
        assert "credentials in the environment" in found["k.png"]["error_message"]
        assert found["2.png"]["retryable"]
        assert found["k.png"]["user"] == [("note", "seen at s3://bucket/k.png")]

        # A week later the same list comes with other signatures, and the failures are mended.
        web.valid, web.statuses, web.locations = RENEWED, {}, {}
        ids = {name: row["unit_id"] for name, row in found.items()}
        addresses = _addresses(web, RENEWED)
        _write_list(source, [a for a in addresses if a.startswith("http")][:-1])
        web.requests.clear()
        report = _run(_config(source, output))
        assert report.merged.added == 0
        assert set(web.requests) == {"2.png", "3.png", "4.png"}  # all else is done
        _assert_hushed(output, *capfd.readouterr())
        again = _outcomes(output)
        assert {name: row["unit_id"] for name, row in again.items()} == ids
        assert again["2.png"]["status"] == "ok"
    assert verify_output(LocalStore(output)).complaints == []


def _addresses(web: SignedWeb, signature: str) -> list[str]:
    """A list as it is written anew each week; of one file the signature is an old one at first."""
    return [
        web.signed("0.png", signature, "size=l&"),
        web.of_user("1.png"),
        web.signed("2.png", OLD if signature == FIRST else signature),
        web.signed("3.png", signature),
        web.signed("4.png", signature),
        web.signed("clip.mp4", signature),
        f"s3://KEY:{OF_S3}@bucket/k.png",
    ]


@pytest.mark.slow
@pytest.mark.long
def test_a_unit_whose_signature_is_listed_no_more_says_so_and_is_tried_again(tmp_path: Path):
    output, source = tmp_path / "out", tmp_path / "list.csv"
    with signed_web({"a.png": _png(0), "b.png": _png(1)}, FIRST) as web:
        _write_list(source, [web.signed("a.png", FIRST), web.signed("b.png", OLD)])
        assert _run(_config(source, output)).exit_code == SOME_FAILED
        _write_list(source, [web.signed("a.png", FIRST)])
        assert _run(_config(source, output)).exit_code == SOME_FAILED
        failed = _outcomes(output)["b.png"]
        assert failed["attempt"] == 2
        assert failed["error_class"] == "forbidden"
        assert "came without a signature" in failed["error_message"]
        _write_list(source, [web.signed("a.png", FIRST), web.signed("b.png", FIRST)])
        assert _run(_config(source, output)).exit_code == DONE
