"""All masks of a folder with Ray Data over our core, as a careful user would write it.

    python jobs/benchmarks/fair_map_batches.py ARCHIVE OUT DIARY '{"points_per_side": 16}'

Fast, and nothing else: one bad file ends it, and after a crash it starts over.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np
import pyarrow as pa
import ray
import torch
from PIL import Image

from jobs.benchmarks.pipeline_stage import Diary
from ops import resize_image_antialiased
from sam2_core import AutoMaskConfig, Mask, MaskGenerator, ResizedPicture, load_sam2
from sam2ray.records import MASK_SCHEMA

BATCH, SIDE = 8, 256
SAME = ("area", "bbox_xywh", "crop_xywh", "predicted_iou", "stability_score")


def decode(batch: Any) -> dict[str, Any]:  # noqa: ANN401 Ray says no more of batches
    """Bytes of files -> pictures at the model's side, and how large they were."""
    pictures = [np.array(Image.open(io.BytesIO(data)).convert("RGB")) for data in batch["bytes"]]
    small = [resize_image_antialiased(torch.from_numpy(p).permute(2, 0, 1), SIDE) for p in pictures]
    return {
        "source_uri": batch["path"],
        "pixels": np.stack([one.permute(1, 2, 0).numpy() for one in small]),
        "height": np.array([picture.shape[0] for picture in pictures], np.int32),
        "width": np.array([picture.shape[1] for picture in pictures], np.int32),
    }


class FindMasks:
    """One model, and what it finds in a batch."""

    def __init__(self, settings: dict[str, Any], diary: Path) -> None:
        model = load_sam2("nano")
        self.generator = MaskGenerator(model, AutoMaskConfig.for_model(model.config, **settings))
        self.diary = Diary(diary)

    def __call__(self, batch: dict[str, np.ndarray]) -> pa.Table:
        """A row a mask."""
        with self.diary.writing("batch", len(batch["pixels"])):
            sizes = list(zip(batch["height"].tolist(), batch["width"].tolist(), strict=True))
            pictures = [ResizedPicture(*one) for one in zip(batch["pixels"], sizes, strict=True)]
            rows = [
                {"source_uri": uri, "height": size[0], "width": size[1], **row_of(mask)}
                for uri, size, masks in zip(
                    batch["source_uri"], sizes, self.generator.generate(pictures), strict=True
                )
                for mask in masks
            ]
            return pa.Table.from_pylist(rows, MASK_SCHEMA)


def row_of(mask: Mask) -> dict[str, Any]:
    """A mask as it is written."""
    same = {name: getattr(mask, name) for name in SAME}
    return {"rle_counts": mask.rle["counts"], "point_xy": mask.point, **same}


def main() -> None:
    """Files -> decode -> find -> Parquet."""
    archive, output, diary, settings = sys.argv[1:]
    ray.init("local", log_to_driver=False, include_dashboard=False)
    dataset = ray.data.read_binary_files(archive, include_paths=True)
    # Memory is booked so that Ray does not fuse the two: pictures would be decoded in the actor.
    dataset = dataset.map_batches(decode, batch_size=BATCH, memory=1)
    dataset = dataset.map_batches(
        FindMasks,
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=1),
        fn_constructor_args=(json.loads(settings), Path(diary)),
        num_cpus=1,
    )
    dataset.write_parquet(output)


if __name__ == "__main__":
    main()
