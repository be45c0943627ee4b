"""What the model that ships takes on a laptop's CPU, and the world that it learned from.

    python jobs/benchmarks/nano.py FOLDER [--only masks,track,world,demo] [--threads 2]
        [--image-size 256] [--dry]

Each figure is the best of three turns in one process, but for the world, of which one CPU makes
pictures, and the demo, which is the command itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from jobs.benchmarks import pipeline_media
from jobs.benchmarks.pipeline_rows import LEDGER, Figure, common_arguments, keep
from sam2_core import (
    RELEASED,
    FramePrompt,
    MaskGenerator,
    Prompt,
    Sam2,
    VideoTracker,
    load_sam2,
)
from sam2_core.learning.world import World
from sam2ray import demo_archive
from sam2ray.cpu_threads import use_cpu_threads

TURNS = 3
PICTURES, CLIP, WORLD_PICTURES = 3, 48, 200
OBJECTS = 4


def main() -> None:
    """Measure what is asked for."""
    parser = common_arguments(__doc__)
    parser.add_argument("--only", default="masks,track,world,demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=RELEASED["nano"].image_size)
    arguments = parser.parse_args()
    use_cpu_threads(arguments.threads)  # as the processes of a run do
    measures = {"masks": _masks, "track": _track, "world": _world, "demo": _demo}
    for name in arguments.only.split(","):
        if name not in measures:
            parser.error(f"--only {name}: known are {', '.join(measures)}")
        keep(measures[name](arguments), None if arguments.dry else LEDGER)


def _model(arguments: argparse.Namespace) -> Sam2:
    return load_sam2(dataclasses.replace(RELEASED["nano"], image_size=arguments.image_size))


def _best(work: Callable[[], object]) -> float:
    """Seconds of the quickest turn, after one to warm up."""
    work()
    seconds = []
    for _ in range(TURNS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _masks(arguments: argparse.Namespace) -> Figure:
    finder = MaskGenerator(_model(arguments))
    folder = pipeline_media.photographs(arguments.folder, PICTURES)
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.jpg"))[:PICTURES]]
    counts: list[int] = []

    def work() -> None:
        counts[:] = [len(masks) for masks in finder.generate(pictures)]

    seconds = _best(work) / PICTURES
    height, width = pictures[0].shape[:2]
    return Figure(
        "nano, all masks of a picture",
        f"{PICTURES} pictures of {width} x {height}",
        round(seconds, 3),
        "s",
        "about 1",
        f"at {arguments.image_size} px, {finder.config.points_per_side} points a side, "
        f"{arguments.threads} threads; masks: {', '.join(map(str, counts))}",
    )


def _track(arguments: argparse.Namespace) -> Figure:
    tracker, clip = VideoTracker(_model(arguments)), World(5).clip(1, CLIP)
    frames = list(clip.frames)
    first = clip[0].masks(clip[0].object_ids(200)[:OBJECTS])
    prompts = [FramePrompt(0, n, Prompt(mask=torch.from_numpy(m))) for n, m in enumerate(first)]

    def work() -> None:
        for tracked in tracker.track(frames, prompts):
            _ = tracked.masks

    rate = CLIP / _best(work)
    return Figure(
        "nano, frames tracked",
        f"{len(prompts)} objects, {CLIP} frames of 256 x 256",
        round(rate, 2),
        "frames/s",
        ">= 10",
        f"at {arguments.image_size} px, {arguments.threads} threads, masks at the frames' size",
    )


def _world(_: argparse.Namespace) -> Figure:
    world = World(6)
    began = time.perf_counter()
    for number in range(WORLD_PICTURES):
        world.picture(number)
    rate = WORLD_PICTURES / (time.perf_counter() - began)
    return Figure(
        "made world, pictures",
        f"{WORLD_PICTURES} of 256 x 256",
        round(rate, 1),
        "pictures/s on one CPU",
        ">= 25",
        "with exact masks; the bar for two CPUs is 50",
    )


def _demo(arguments: argparse.Namespace) -> Figure:
    with TemporaryDirectory(dir=arguments.folder) as folder:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sam2ray", "demo", folder + "/demo"], check=True)
        seconds = time.perf_counter() - began
    return Figure(
        "sam2ray demo",
        f"{demo_archive.PICTURES} pictures, a clip of {demo_archive.FRAMES} frames, 3 modes",
        round(seconds, 1),
        "s",
        "< 90",
        "Ray's start and end included",
    )


if __name__ == "__main__":
    main()
