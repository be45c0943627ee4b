"""The image model of transformers, with the weights of one of ours, as a peer in benchmarks."""

from __future__ import annotations

import numpy as np
import torch

from sam2_core.checkpoint_names import HUGGING_FACE, OURS, rename
from sam2_core.network.sam2 import Sam2


class HuggingImageModel:
    """Encode a picture, answer points: what transformers can do that is comparable."""

    def __init__(self, ours: Sam2) -> None:
        from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model

        self.model = Sam2Model(Sam2Config()).eval()
        state = hugging_state(ours)
        known = self.model.state_dict()
        self.model.load_state_dict({key: state[key] for key in known})
        self.processor = Sam2ImageProcessor()
        self.size = ours.config.image_size

    @torch.inference_mode()
    def encode(self, picture: np.ndarray) -> list[torch.Tensor]:
        """Preprocess and encode."""
        pixels = self.processor(images=picture, return_tensors="pt")["pixel_values"]
        return self.model.get_image_embeddings(pixels)

    @torch.inference_mode()
    def segment(
        self, embedded: list[torch.Tensor], points: np.ndarray, size_hw: tuple[int, int]
    ) -> np.ndarray:
        """Three masks for each point, at full size; one point a prompt."""
        height, width = size_hw
        # Its processor scales both axes by the longer side; points are scaled here as trained.
        scaled = torch.as_tensor(points / np.array([width, height]) * self.size).float()
        found = self.model(
            image_embeddings=embedded,
            input_points=scaled[None, :, None],
            input_labels=torch.ones(1, len(points), 1, dtype=torch.int32),
            multimask_output=True,
        )
        masks = torch.nn.functional.interpolate(
            found.pred_masks[0], size_hw, mode="bilinear", align_corners=False
        )
        return (masks > 0).flatten(0, 1).numpy()


def hugging_state(ours: Sam2) -> dict[str, torch.Tensor]:
    """Our weights under the names of transformers."""
    weights = ours.state_dict()
    state = {new: weights[old] for old, new in rename(weights, OURS, HUGGING_FACE).items()}
    kinds = [state.pop(f"prompt_encoder.point_embed.{i}") for i in range(4)]
    state["prompt_encoder.point_embed.weight"] = torch.cat(kinds)
    shared = state["shared_image_embedding.positional_embedding"]
    state["prompt_encoder.shared_embedding.positional_embedding"] = shared
    return state


def hugging_model(ours: Sam2, image_size: int) -> HuggingImageModel:
    """The peer of one of our models; transformers' default shape is tiny at 1024 px."""
    if ours.config.embed_dim != 96 or image_size != 1024:
        raise ValueError("transformers' default shape is sam2.1_hiera_tiny at 1024 px")
    return HuggingImageModel(ours)
