"""An output -> a file or folder that other tools read; nothing is written over."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .. import dataset
from ..config import JobConfig
from ..errors import UsageError
from ..kept_config import kept_config
from ..publishing import TEMPORARY
from ..readers.places import place_of
from ..storage import Options, local_path, open_store
from .coco import write_coco
from .exported import Exported, Watch, labels_in
from .id_pictures import write_classes, write_objects
from .names import roots_of

Format = Literal["coco", "davis", "classes"]
_FITTING: dict[str, Format] = {"semantic": "classes", "track": "davis", "auto_track": "davis"}
_NAMES = "classes.txt"  # a line an id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an export is asked for; None where the output decides."""

    format: str | None = None
    min_score: float | None = None
    classes: Sequence[str] | None = None
    ground: str | None = None  # the class of pixels that no mask covers


def export(uri: str, destination: str, wanted: Wanted, options: Options, watch: Watch) -> Exported:
    """Write all masks that count today."""
    data = dataset.open(uri, options)
    config = kept_config(data.store).config
    form = _format(wanted, config, uri)
    roots = roots_of(config)
    if form == "coco":
        score = wanted.min_score or 0.0
        return _in_a_file(
            destination, options, lambda place: write_coco(data, roots, score, place, watch)
        )
    store = open_store(destination, options)
    if next(iter(store.list()), None) is not None:
        raise UsageError(f"{destination}: is not empty, and nothing is written over: name another.")
    if form == "davis":
        video = config.decode.video
        every = video.every_nth == 1 and video.fps is None
        return write_objects(data, roots, store, watch, options, all_frames=every)
    names = _class_names(data, wanted, uri)
    store.put(_NAMES, "".join(f"{name}\n" for name in names).encode())
    return write_classes(data, roots, store, watch, options, names=names, ground=wanted.ground)


def _format(wanted: Wanted, config: JobConfig, uri: str) -> Format:
    mode = config.mode
    if mode == "embed":
        raise UsageError(f"{uri}: has embeddings and no masks: `sam2ray.open` reads them.")
    form = wanted.format or _FITTING.get(mode, "coco")
    known = {name: name for name in get_args(Format)}
    if form not in known:
        raise UsageError(f"--format {form}: is none of {', '.join(known)}.")
    if (form == "classes") != (mode == "semantic") and form != "coco":
        fitting = _FITTING.get(mode, "coco")
        raise UsageError(f"--format {form}: is not for results of mode {mode}: {fitting} is.")
    if form != "coco" and wanted.min_score is not None:
        raise UsageError(f"--min-score is of coco: {form} has all masks. Leave it out.")
    if form != "classes" and wanted.classes is not None:
        raise UsageError("--classes says which class is which id, in the format classes alone.")
    if form != "classes" and wanted.ground is not None:
        raise UsageError("--ground says which class is elsewhere, in the format classes alone.")
    return known[form]


def _class_names(data: dataset.Dataset, wanted: Wanted, uri: str) -> list[str]:
    ground = [] if wanted.ground is None else [wanted.ground]
    if wanted.classes is not None and not set(ground) <= set(wanted.classes):
        named = ", ".join(wanted.classes)
        raise UsageError(f"--ground {wanted.ground}: is none of --classes {named:.200}: name it.")
    seen = {label for label in labels_in(data) if label is not None}
    if wanted.classes is None:
        return [*ground, *sorted(seen.difference(ground))]
    missing = sorted(seen.difference(wanted.classes))
    if missing:
        raise UsageError(f"--classes: {uri} has {missing[0]!r} too: name all of its classes.")
    return list(wanted.classes)


def _in_a_file(destination: str, options: Options, write: Callable[[Path], Exported]) -> Exported:
    """Write a file aside, and show it whole or not at all."""
    if not destination.lower().endswith(".json"):
        raise UsageError(f"{destination}: name a file of COCO, such as masks.json.")
    path, place = local_path(destination), place_of(destination)
    store = open_store(place.folder, options)
    if store.exists(place.name) or (path is not None and path.exists()):
        raise UsageError(f"{destination}: is there, and nothing is written over: name another.")
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"{destination}: there is no folder {path.parent}: make it first.")
    beside = None if path is None else path.parent  # where there is room for it
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=beside) as folder:
        aside = Path(folder, "coco.json")
        written = write(aside)
        store.put(place.name, aside)
        return written
