"""What a CPU does faster in another order: the same sums, in pieces that stay in its caches.

Large blocks of memory are taken from the system and given back each time, page by page, which may
cost as much as what is computed in them. So pieces are small, and the largest have a place of their
own that is used again.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_PIECE = 1 << 21  # numbers: 8 MiB of fp32
_SCORES = 1 << 22
_FEWEST_QUERIES, _MOST_QUERIES = 64, 256  # at once


class _Place(threading.local):
    """A block of memory for each thread."""

    block: Tensor | None = None

    def take(self, rows: int, columns: int) -> Tensor:
        """A matrix that holds anything, until the next one is taken."""
        count = rows * columns
        if self.block is None or len(self.block) < count:
            self.block = _numbers(max(count, _SCORES))
        return self.block[:count].view(rows, columns)


def _numbers(count: int) -> Tensor:
    # An inference tensor could not be written to outside inference mode; and somebody may have set
    # another default dtype or device.
    with torch.inference_mode(mode=False):
        return torch.empty(count, dtype=torch.float32, device="cpu")


_place = _Place()


def prefers_pieces(x: Tensor) -> bool:
    """Whether to compute in pieces: not for compilers, which have an order of their own."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def rows_per_piece(width: int) -> int:
    """How many rows of this width make a piece."""
    return max(1, _PIECE // width)


def attend_by_columns(query_PC: Tensor, key_LC: Tensor, value_LD: Tensor) -> Tensor:
    """Attend with one head: [P, D], where D may be another width than C.

    Scores are laid out with a query in each column: with as few channels as a head has, the matrix
    product runs half as fast again this way round.
    """
    length, count = len(key_LC), len(query_PC)
    assert length, "there is nothing to attend to"
    # Other numbers of columns than these leave rows out of line, and take half as long again.
    step = _SCORES // length // _FEWEST_QUERIES * _FEWEST_QUERIES
    step = min(_MOST_QUERIES, max(_FEWEST_QUERIES, step))
    scaled = query_PC * query_PC.shape[-1] ** -0.5
    mixed = query_PC.new_empty(count, value_LD.shape[-1])
    for start in range(0, count, step):
        part = scaled[start : start + step]
        scores = _place.take(length, len(part))
        torch.mm(key_LC, part.T, out=scores)
        torch.softmax(scores, dim=0, out=scores)
        torch.mm(scores.T, value_LD, out=mixed[start : start + step])
    return mixed
