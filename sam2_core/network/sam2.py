"""SAM 2 as four verbs: embed images, decode masks, recall what was seen, remember what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ops import downsample_mask_antialiased, upsample_logits

from ..config import ABSENT_LOGIT, MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, ModelConfig
from ..data import (
    FrameMemory,
    ImageEmbedding,
    MaskPrediction,
    Memories,
    ObjectPrediction,
    PackedPrompts,
    concatenate_embeddings,
    concatenate_predictions,
)
from ..layers.cpu import prefers_pieces
from .feature_pyramid import FeaturePyramid
from .hiera import Hiera
from .mask_decoder import Answer, MaskDecoder
from .memory_attention import MemoryAttention, MemoryTokens
from .memory_encoder import MemoryEncoder
from .object_pointer import ObjectPointer
from .prompt_encoder import PromptEncoder
from .two_way import SharedPixels, pick_rows

# On a CPU a few prompts at a time stay in the cache; measured best at 1024 px on two cores.
_CPU_DECODE_BATCH = 4
# Windows of a batch are one dimension of a kernel launch, which ends at 65,535: 63 images.
_ENCODE_LIMIT = 32


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What prompts of a batch of images are decoded against: all that depends on images alone.

    Rows are images; after `recall` they are objects, as in an ImageEmbedding.
    """

    coarse_BPC: Tensor
    shared: SharedPixels | None  # what prompts without a mask start from, if they are many
    positions_PC: Tensor
    middle_BPQC: Tensor
    fine_BPQC: Tensor
    source_index: Tensor | None

    def __len__(self) -> int:
        return self.coarse_BPC.shape[0]

    def rows(self, chosen: slice) -> Scene:
        """Some of the images, without a copy."""
        source = self.source_index
        levels = slice(None) if source is not None else chosen
        return Scene(
            self.coarse_BPC[chosen],
            None if self.shared is None else self.shared.rows(chosen),
            self.positions_PC,
            self.middle_BPQC[levels],
            self.fine_BPQC[levels],
            None if source is None else source[chosen],
        )


class Sam2(nn.Module):
    """The network; it holds weights and no state of any picture or clip."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # For compiled programs, batches are filled up to few sizes: those of images, and those of
        # prompts and objects.
        self.static_images = False
        self.static_objects = False
        self.encoder_sha256: str | None = None  # as it was before a cast, see encoder_digest
        self.encoder = Hiera(config)
        self.pyramid = FeaturePyramid(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.memory_encoder = MemoryEncoder(config)
        self.memory_attention = MemoryAttention(config)
        self.object_pointer = ObjectPointer(config)
        self.mask_to_logits = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        memory_dim = config.memory_dim
        self.temporal_encoding = _small(config.max_memories, 1, 1, memory_dim)
        self.no_memory = _small(1, 1, config.hidden_dim)
        # Nothing reads this one; official files carry it, and files go round whole.
        self.no_memory_position = _small(1, 1, config.hidden_dim)
        marks_absence = config.marks_absence_in_memory
        self.absent_memory = _small(1, memory_dim) if marks_absence else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_memory.device

    @property
    def dtype(self) -> torch.dtype:
        """What the bulk of the weights is stored in."""
        return self.encoder.patches.weight.dtype

    # --- verb 1

    def embed_images(self, pixels_B3SS: Tensor) -> ImageEmbedding:
        """Encode normalised pixels at model resolution."""
        if len(pixels_B3SS) > _ENCODE_LIMIT:
            parts = pixels_B3SS.split(_ENCODE_LIMIT)
            return concatenate_embeddings([self.embed_images(part) for part in parts])
        count = len(pixels_B3SS)
        patches = self.encoder.embed_patches(pixels_B3SS[self._filling(count, of_images=True)])
        levels = self.pyramid(self.encoder(patches))
        return ImageEmbedding(*(level[:count] for level in levels))

    # --- verb 2

    def decode_masks(
        self, embedding: ImageEmbedding | Scene, prompts: PackedPrompts, answer: Answer = "three"
    ) -> MaskPrediction:
        """Answer prompts of any images of the batch; zero prompts give zero answers.

        Who decodes several packed batches against the same images makes their `scene` once.
        """
        if isinstance(embedding, Scene):
            scene = embedding
        else:
            maskless = len(prompts) if prompts.mask_logits_Nhw is None else 0
            scene = self.scene(embedding, maskless)
        in_pieces = prefers_pieces(scene.coarse_BPC)
        step = _CPU_DECODE_BATCH if in_pieces else max(1, len(prompts))
        parts = []
        for start in range(0, max(1, len(prompts)), step):
            part = prompts.rows(slice(start, start + step))
            padded = part.rows(self._filling(len(part)))
            parts.append(self._decode(scene, padded, answer).rows(slice(0, len(part))))
        return concatenate_predictions(parts)

    def scene(self, embedding: ImageEmbedding, maskless_prompts: int) -> Scene:
        """Compute what no prompt changes, for any number of calls of `decode_masks`.

        `maskless_prompts` is how many prompts without a mask will be decoded against it: where they
        are more than the images, the first layer's view of the pixels is worth sharing.
        """
        coarse = embedding.coarse_BPC
        if not embedding.conditioned:
            coarse = coarse + self.no_memory
        coarse = coarse.to(self.dtype)
        positions = self.prompt_encoder.positions().to(coarse)
        shared = None
        if maskless_prompts > len(embedding):
            shared = self.mask_decoder.transformer.share(coarse + self._no_mask(coarse), positions)
        levels = self.mask_decoder.prepare_levels(embedding)
        return Scene(coarse, shared, positions, *levels, embedding.source_index)

    def _no_mask(self, coarse_BPC: Tensor) -> Tensor:
        return self.prompt_encoder.no_mask.to(coarse_BPC)

    def _decode(self, scene: Scene, prompts: PackedPrompts, answer: Answer) -> MaskPrediction:
        index = prompts.image_index_N
        source = index if scene.source_index is None else scene.source_index[index]
        tokens = self.prompt_encoder.embed_points(prompts.coords_NT2, prompts.labels_NT)
        decode = self.mask_decoder if len(prompts) else self.mask_decoder.forward
        prediction = decode(
            tokens,
            self._pixels_of(scene, prompts),
            scene.positions_PC,
            pick_rows(scene.middle_BPQC, source),
            pick_rows(scene.fine_BPQC, source),
            answer,
        )
        return MaskPrediction(*prediction)

    def _pixels_of(self, scene: Scene, prompts: PackedPrompts) -> Tensor | SharedPixels:
        """What each prompt's pixels start as."""
        index = prompts.image_index_N
        masks = prompts.mask_logits_Nhw if len(prompts) else None
        if masks is None and scene.shared is not None:
            return scene.shared.pick(index)
        coarse = pick_rows(scene.coarse_BPC, index)
        if masks is None:
            return coarse + self._no_mask(coarse)
        return coarse + self.prompt_encoder.embed_masks(masks)

    def settle(self, prediction: MaskPrediction) -> ObjectPrediction:
        """Let one mask stand for each object: the best of those decoded, empty if it is absent."""
        best = prediction.predicted_iou_NM.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        present = prediction.object_score_N > 0
        logits = prediction.logits_NMhw[rows, best]
        tokens = prediction.tokens_NMC
        token = tokens[rows, best] if tokens.shape[1] > 1 else tokens[:, 0]
        return ObjectPrediction(
            torch.where(present[:, None, None], logits, ABSENT_LOGIT),
            prediction.predicted_iou_NM[rows, best],
            prediction.object_score_N,
            self.object_pointer(token, present),
        )

    def adopt_masks(
        self, embedding: ImageEmbedding, masks_NSS: Tensor, source_index_N: Tensor
    ) -> ObjectPrediction:
        """Take given masks at model resolution as the answer; only their pointers are decoded."""
        masks = masks_NSS.float().unsqueeze(1)
        count = len(masks)
        side = self.config.low_res_size
        logits = downsample_mask_antialiased(
            masks * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS, (side, side)
        ).squeeze(1)
        # The pointer is read off bare features: neither memory nor what stands for none.
        decoded = self.settle(
            self.decode_masks(
                replace(embedding, conditioned=True),
                replace(
                    no_point_prompts(source_index_N),
                    mask_logits_Nhw=self.mask_to_logits(masks.to(self.mask_to_logits.weight))[:, 0],
                ),
                "one",
            )
        )
        present = masks.flatten(1).any(dim=1)
        pointer = torch.where(present[:, None], decoded.pointer_NC, self.object_pointer.absent)
        score = torch.where(present, MASK_LOGIT_SCALE, 0.0) + MASK_LOGIT_BIAS
        return ObjectPrediction(logits, torch.ones(count, device=masks.device), score, pointer)

    # --- verb 3

    def recall(
        self,
        embedding: ImageEmbedding,
        memories: Sequence[Memories],
        source_index_N: Tensor | None = None,
    ) -> ImageEmbedding:
        """Condition images on what is remembered of objects; one row an object comes out.

        Object n is on image source_index_N[n]. With no memories at all, the embedding that stands
        for having none is added instead.
        """
        if source_index_N is None:
            source_index_N = torch.arange(len(embedding), device=self.device)
        if memories:
            coarse = self._attend_to_memory(embedding.coarse_BPC, source_index_N, memories)
        else:
            coarse = (embedding.coarse_BPC + self.no_memory)[source_index_N]
        return replace(embedding, coarse_BPC=coarse, conditioned=True, source_index=source_index_N)

    def _attend_to_memory(
        self, coarse_BPC: Tensor, source_index_N: Tensor, memories: Sequence[Memories]
    ) -> Tensor:
        tokens = [self._memory_tokens(memory) for memory in memories]
        if not self.static_objects:
            return self.memory_attention(coarse_BPC, source_index_N, tokens)
        # How objects fall into groups varies freely, but every group alone suits one program. Only
        # the first self-attention of a frame is thereby repeated for each group.
        parts = []
        for group in tokens:
            alone = replace(group, rows_N=torch.arange(len(group.rows_N), device=self.device))
            parts.append(self.memory_attention(coarse_BPC, source_index_N[group.rows_N], [alone]))
        return torch.cat(parts)[torch.argsort(torch.cat([group.rows_N for group in tokens]))]

    def _memory_tokens(self, memory: Memories) -> MemoryTokens:
        """Lay frames and pointers out as tokens, with where and when as positions."""
        dtype = self.dtype
        when = self.temporal_encoding[:, 0, 0][memory.slots_NK]
        where = self.memory_attention.memory_positions
        count, dim = len(memory.slots_NK), self.config.memory_dim
        cuts = self.config.hidden_dim // dim
        ages = self.object_pointer.encode_age(memory.ages_NQ, memory.reach)
        return MemoryTokens(
            memory.rows_N,
            memory.features_NKPC.to(dtype).flatten(1, 2),
            (where + when[:, :, None]).flatten(1, 2).to(dtype),
            memory.pointers_NQC.to(dtype).reshape(count, -1, dim),
            ages.repeat_interleave(cuts, dim=1).to(dtype),
        )

    # --- verb 4

    def remember(
        self,
        embedding: ImageEmbedding,
        prediction: ObjectPrediction,
        source_index_N: Tensor | None = None,
        *,
        binarize: bool = False,
    ) -> FrameMemory:
        """Turn bare features and settled masks into memory; `binarize` what a user prompted."""
        if source_index_N is None:
            source_index_N = torch.arange(len(embedding), device=self.device)
        projected = self.memory_encoder.project(embedding.coarse_BPC)
        count = len(source_index_N)
        one_by_one = prefers_pieces(projected) and not self.static_objects
        step = 1 if one_by_one else max(1, count)
        parts = [slice(start, start + step) for start in range(0, max(1, count), step)]
        features = torch.cat(
            [
                self._remember(projected, prediction.rows(part), source_index_N[part], binarize)
                for part in parts
            ]
        )
        return FrameMemory(features, prediction.pointer_NC)

    def _remember(
        self,
        projected_BHWC: Tensor,
        prediction: ObjectPrediction,
        source_index_N: Tensor,
        binarize: bool,
    ) -> Tensor:
        count, side = len(source_index_N), self.config.image_size
        filling = self._filling(count)
        logits = upsample_logits(prediction.logits_Nhw[filling].unsqueeze(1), (side, side))
        chance = (logits > 0).float() if binarize else torch.sigmoid(logits)
        features = self.memory_encoder(
            projected_BHWC,
            source_index_N[filling],
            chance * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS,
        )[:count]
        if self.absent_memory is not None:
            absent = (prediction.object_score_N <= 0)[:, None, None]
            features = features + absent * self.absent_memory.to(features.dtype)
        # What is learned from stays as exact as it is.
        return features if torch.is_grad_enabled() else features.to(torch.bfloat16)

    def _filling(self, count: int, *, of_images: bool = False) -> slice | Tensor:
        """Rows of a batch, filled up with its first row to a size that was compiled."""
        is_static = self.static_images if of_images else self.static_objects
        if not is_static or count == 0:
            return slice(None)
        rows = torch.arange(bucket_of(count), device=self.device)
        return torch.where(rows < count, rows, 0)


def bucket_of(count: int) -> int:
    """The batch size to run `count` rows with: the next power of two."""
    return 1 << (count - 1).bit_length()


def no_point_prompts(source_index_N: Tensor) -> PackedPrompts:
    """What frames without a prompt are decoded with: two tokens that are no point."""
    count, device = len(source_index_N), source_index_N.device
    return PackedPrompts(
        torch.zeros(count, 2, 2, device=device),
        torch.full((count, 2), -1, dtype=torch.long, device=device),
        source_index_N,
    )


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
