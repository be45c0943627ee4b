"""Clips are judged frame by frame, with the figures of a judge who sees all frames at once."""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from make_labels import WORLD, write_sav_clip, write_sav_folders
from PIL import Image

from sam2_core import RELEASED, FramePrompt, Prompt, Sam2, VideoTracker, build_sam2
from sam2_core.learning.measures import ClipScore, score_clip
from sam2ray.learning.answer_folders import score_answers
from sam2ray.learning.clip_cases import draw_clip_cases
from sam2ray.learning.clip_exams import ask_about_clips, prompts_of
from sam2ray.learning.labels.labelled import WholeClip
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.labels.sav_folders import SavFolders
from sam2ray.learning.train_config import Labels

SMALL = dataclasses.replace(RELEASED["nano"], image_size=64)


class _Given:
    """A source of one clip."""

    name = "given"

    def __init__(self, clip: WholeClip) -> None:
        self.clip = clip

    def whole_clip(self, number: int):
        return nullcontext(self.clip)


def _judged_at_once(model: Sam2, clip: WholeClip) -> list[ClipScore]:
    masks = {frame: np.asarray(one) for frame, one in clip.annotated.items()}
    starts = {}
    for frame in sorted(masks):
        for number in np.flatnonzero(masks[frame].any((1, 2))).tolist():
            starts.setdefault(number, frame)
    prompts = [FramePrompt(f, n, Prompt(mask=masks[f][n])) for n, f in starts.items()]
    tracked = {one.frame: one for one in VideoTracker(model).track(list(clip.frames), prompts)}
    scores = []
    for number, start in starts.items():
        before = start if clip.begins_with_objects else min(masks)
        judged = [frame for frame in sorted(masks) if before < frame < max(masks)]
        answers = [tracked[f].masks[tracked[f].object_ids.index(number)] for f in judged]
        targets = [torch.from_numpy(masks[f][number]) for f in judged]
        none = torch.zeros(1, 96, 96, dtype=torch.bool)
        score = score_clip(*(torch.stack(s) if s else none[:0] for s in (answers, targets)))
        scores.append(score)
    return scores


@pytest.mark.parametrize("begins", [False, True])
def test_a_clip_that_is_judged_as_it_comes_gets_the_figures_of_one_that_is_kept(begins: bool):
    clip = WORLD.clip(2, frames=7)
    seen = clip[0].object_ids(16)[:3]
    annotated = {frame: clip[frame].masks(seen) for frame in (0, 1, 3, 4, 6)}
    annotated[0][1] = False  # comes later
    annotated[6][:] = True
    for frame in (0, 1, 3, 4):
        annotated[frame][2] = False  # is on the last frame alone
    given = WholeClip("c", list(clip.frames), annotated, begins_with_objects=begins)
    model, skipped = build_sam2(SMALL), []
    (followed,) = ask_about_clips(model, _Given(given), range(1), skipped)  # pyright: ignore[reportArgumentType] clips alone
    assert not skipped
    found = [(one.j, one.f) for one in followed.scores]
    expected = [(one.j, one.f) for one in _judged_at_once(model, given)]
    assert len(found) == 3
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found[2]).all()


def test_objects_of_a_video_are_followed_and_broken_clips_are_told(tmp_path):
    place = write_sav_clip(tmp_path, "sav_1", WORLD.clip(4, frames=9))
    source = open_labels(Labels(kind="sav", uri=str(place)), {}, 64)
    skipped: list[str] = []
    model = build_sam2(SMALL)
    (followed,) = ask_about_clips(model, source, range(1), skipped)
    assert len(followed.scores) == len(WORLD.clip(4, frames=9)[0].object_ids(16))
    assert not skipped
    (tmp_path / "sav_1.mp4").write_bytes(b"#!/bin/sh\n" * 9)
    assert not [*ask_about_clips(model, source, range(1), skipped)]
    assert "not a video" in skipped[0]


def test_what_is_followed_is_judged_as_the_same_masks_in_folders_are(tmp_path: Path):
    """Each object on its own PNGs, of which some begin late and some end early."""
    place = write_sav_folders(tmp_path / "labels", "sav_7", WORLD.clip(2, frames=9), stride=1)
    pngs = place / "Annotations_6fps" / "sav_7"
    folders = sorted(folder.name for folder in pngs.iterdir())
    for frame in range(5, 9):
        (pngs / folders[0] / f"{frame:05}.png").unlink()
    for frame in range(3):
        (pngs / folders[1] / f"{frame:05}.png").unlink()
    source, model, skipped = SavFolders.opened(str(place), None, {}), build_sam2(SMALL), []
    (followed,) = ask_about_clips(model, source, range(1), skipped)
    assert not skipped
    with source.whole_clip(0) as clip:
        for tracked in VideoTracker(model).track(clip.frames, prompts_of(clip)):  # pyright: ignore[reportArgumentType]
            for number, mask in zip(tracked.object_ids, tracked.masks, strict=True):
                own = pngs / folders[number] / f"{tracked.frame:05}.png"
                if own.exists():
                    answer = tmp_path / "answers" / "sav_7" / folders[number] / own.name
                    answer.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask.numpy()).convert("L").save(answer)
    marks = score_answers(str(pngs.parent), str(tmp_path / "answers"), {})
    found = [(one.j, one.f) for one in followed.scores]
    assert found == [(one.score.j, one.score.f) for one in marks.objects]
    assert len(found) == len(folders) >= 2


def test_the_worst_and_the_best_clip_are_drawn(tmp_path: Path):
    place = write_sav_clip(tmp_path, "a", WORLD.clip(2, frames=13))
    write_sav_clip(tmp_path, "b", WORLD.clip(3, frames=9))
    source = open_labels(Labels(kind="sav", uri=str(place)), {}, 96)
    drawn = draw_clip_cases(build_sam2(SMALL), source, 1, 0)
    with Image.open(io.BytesIO(drawn)) as sheet:
        assert sheet.size == (4 * 246 + 6, 1028)  # four annotated frames in the longer one
        pixels = np.asarray(sheet.convert("RGB"))
    worst, best = np.split(pixels, 2)
    assert (worst[20:250, 4 * 246 - 200 :] == 255).all()  # of the other there are three
    assert worst[20:250, 20:200].std() > 10
    assert best[20:250, 4 * 246 - 200 : 4 * 246 - 20].std() > 10


def test_a_clip_that_begins_with_nobody_is_drawn_without_an_answer(tmp_path: Path):
    place = write_sav_clip(tmp_path, "a", WORLD.clip(2, frames=13))
    path = place / "a_manual.json"
    content = json.loads(path.read_text())
    content["masklet"][0] = [None] * len(content["masklet"][0])
    path.write_text(json.dumps(content))
    source = open_labels(Labels(kind="sav", uri=str(place)), {}, 96)
    drawn = draw_clip_cases(build_sam2(SMALL), source, 0, 0)
    with Image.open(io.BytesIO(drawn)) as sheet:
        assert sheet.size[0] == 4 * 246 + 6
