"""Small archives of every kind that is read: files, shards, tables, annotations, clips."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as pycoco

from sam2ray.readers.slices import Ignored
from sam2ray.readers.sources import Source
from sam2ray.records import Unit


def jpeg(width: int = 24, height: int = 16, seed: int = 0) -> bytes:
    """A picture of its own for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return file.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes] | Iterable[str]) -> Path:
    """Files by name, JPEGs where only names are given."""
    if not isinstance(files, Mapping):
        files = {name: jpeg(seed=number) for number, name in enumerate(files)}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_bytes(members: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002 tarfile's word
    """A shard with these members, in this order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def webdataset(samples: int, json_fields: bool = True, bytes_each: int | None = None) -> bytes:
    """A shard of KEY.jpg, KEY.json and KEY.cls."""
    members = []
    for number in range(samples):
        picture = jpeg(seed=number) if bytes_each is None else bytes(bytes_each)
        members.append((f"{number:06d}.jpg", picture))
        if json_fields:
            fields = {"caption": f"picture {number}", "score": number / 2, "tags": ["a", number]}
            members.append((f"{number:06d}.json", json.dumps(fields).encode()))
            members.append((f"{number:06d}.cls", str(number % 10).encode()))
    return tar_bytes(members)


def write_parquet(path: Path, columns: Mapping[str, object], row_group: int | None = None) -> Path:
    """A Parquet file of these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group)
    return path


def write_picture_table(path: Path, pictures: Sequence[bytes], row_group: int = 4) -> Path:
    """Pictures as Hugging Face writes them: a struct of bytes and path."""
    cells = [{"bytes": content, "path": f"{n:04d}.jpg"} for n, content in enumerate(pictures)]
    captions = [f"caption {n}" for n in range(len(pictures))]
    return write_parquet(path, {"image": cells, "caption": captions}, row_group)


def coco(
    images: Sequence[tuple[str, int, int]], annotations: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    """A COCO file: images as (file_name, height, width) get the ids 1, 2, and so on."""
    return {
        "images": [
            {"id": n, "file_name": name, "height": height, "width": width}
            for n, (name, height, width) in enumerate(images, 1)
        ],
        "annotations": [{"id": 100 + n, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def rle(mask: np.ndarray) -> dict[str, object]:
    """A mask as pycocotools writes it."""
    encoded = pycoco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def box_mask(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """A mask of one rectangle (x0, y0, x1, y1)."""
    mask = np.zeros((height, width), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def write_sav(path: Path, masks_by_frame: Sequence[Sequence[np.ndarray]], frames: int) -> Path:
    """A file of SA-V's masklets: masks by annotated frame and object."""
    content = {
        "video_id": path.name.removesuffix("_manual.json").removesuffix("_auto.json"),
        "video_frame_count": float(frames),
        "masklet": [[rle(mask) for mask in masks] for masks in masks_by_frame],
        "masklet_id": list(range(len(masks_by_frame[0]))),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_davis(root: Path, clips: Mapping[str, np.ndarray], frames: int = 3) -> Path:
    """DAVIS: frames as JPEGs, and a palette picture of object ids for every frame."""
    for name, ids in clips.items():
        for frame in range(frames):
            size = {"width": ids.shape[1], "height": ids.shape[0]}
            write_files(
                root / "JPEGImages" / "480p" / name, {f"{frame:05d}.jpg": jpeg(**size, seed=frame)}
            )
            picture = Image.fromarray(ids.astype(np.uint8)).convert("P")
            picture.putdata(ids.astype(np.uint8).flatten().tolist())
            picture.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
            target = root / "Annotations" / "480p" / name / f"{frame:05d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target)
    return root


class Web(ThreadingHTTPServer):
    """Files at addresses, with ranges; counts what it sends."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.statuses: dict[str, int] = {}  # answered instead of the file
        self.ranges = True
        self.tagged = ("HEAD", "GET")  # the methods whose answers have an ETag
        self.changed: dict[str, str] = {}  # Last-Modified, by file
        self.sent: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.told: dict[str, str] = {}  # headers of the last request

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        self.server.told = dict(self.headers.items())
        content = self.server.files.get(path)
        status = self.server.statuses.get(path) or (404 if content is None else 200)
        if content is None or status != 200:
            self.send_error(status)
            return
        body, asked = content, self.headers.get("Range")
        if asked and self.server.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            body = content[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(content)}"
            )
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes" if self.server.ranges else "none")
        if self.command in self.server.tagged:
            self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:x}"')
        if path in self.server.changed:
            self.send_header("Last-Modified", self.server.changed[path])
        self.end_headers()
        self.server.requests[path] += 1
        if with_body:
            self.wfile.write(body)
            self.server.sent[path] += len(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def web(files: Mapping[str, bytes]) -> Iterator[Web]:
    """A web server for as long as the block lasts."""
    server = Web(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def found_in(source: Source) -> tuple[list[Unit], list[Ignored]]:
    """Units of a source and what is ignored in it, each in the order of the listing."""
    found = list(source.all_units())
    units = [item for item in found if isinstance(item, Unit)]
    return units, [item for item in found if isinstance(item, Ignored)]


def joined_units(source: Source) -> list[Unit]:
    """Units of a source with the prompts of their file."""
    return list(source.join().run(found_in(source)[0], source.all_prompts()))
