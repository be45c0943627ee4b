"""Facts about released models -> a table of what can be asked for, and what is on this machine."""

from __future__ import annotations

from rich.table import Table

from sam2_core import RELEASED, ModelConfig, Sam2
from sam2_core.download import cache_folder
from sam2_core.shipped import SHIPPED


def models_table() -> Table:
    """What `sam2ray models` shows."""
    table = Table(title=f"weights are kept in {cache_folder()}", title_justify="left")
    table.add_column("name")
    table.add_column("parameters", justify="right")
    table.add_column("image size", justify="right")
    table.add_column("weights")
    for name, row in RELEASED.items():
        table.add_row(name, f"{parameters(row) / 1e6:.1f} M", str(row.image_size), weights(name))
    return table


def parameters(row: ModelConfig) -> int:
    """How many numbers a model has; nothing is allocated."""
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Sam2(row).parameters())


def weights(name: str) -> str:
    """Where the weights of a model are."""
    if name in SHIPPED:
        return "comes with this package, for trying things out"
    if (cache_folder() / f"{name}.pt").exists():
        return "cached"
    return "published, fetched when first used"
