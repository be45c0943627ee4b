"""All masks of a folder with Ray Data over the reference package, as one would write it today.

    python jobs/benchmarks/naive_ray.py ARCHIVE OUT DIARY '{"points_per_side": 16, "weights": ...}'

Nothing is made slow on purpose: Ray reads pictures, one model sits in an actor, masks leave it as
COCO run lengths. The oracle of the tests builds nano's shape, for which the reference has no file.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np
import pandas as pd
import ray
import torch

from jobs.benchmarks.pipeline_stage import Diary
from sam2_core import RELEASED

BATCH = 8


class FindMasks:
    """The reference's generator of all masks."""

    def __init__(self, settings: dict[str, Any], diary: Path) -> None:
        sys.path.append(str(ROOT / "tests" / "support"))  # in the actor, too
        from oracle import mask_generator, reference_model

        settings = dict(settings)
        model = reference_model(RELEASED["nano"])
        model.load_state_dict(torch.load(settings.pop("weights"), weights_only=True)["model"])
        self.generator = mask_generator(model, output_mode="coco_rle", **settings)
        self.diary = Diary(diary)

    def __call__(self, batch: dict[str, np.ndarray]) -> pd.DataFrame:
        """A row a mask."""
        with self.diary.writing("batch", len(batch["image"])):
            rows = [
                {"source_uri": path, **row_of(mask)}
                for path, picture in zip(batch["path"], batch["image"], strict=True)
                for mask in self.generator.generate(picture)
            ]
            return pd.DataFrame(rows)


def row_of(mask: dict[str, Any]) -> dict[str, Any]:
    """What the reference says of a mask, its run lengths as they are written."""
    rle = mask.pop("segmentation")
    height, width = rle["size"]
    return {"height": height, "width": width, "rle_counts": rle["counts"], **mask}


def main() -> None:
    """Pictures -> find -> Parquet."""
    archive, output, diary, settings = sys.argv[1:]
    ray.init("local", log_to_driver=False, include_dashboard=False)
    dataset = ray.data.read_images(archive, include_paths=True, mode="RGB")
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
