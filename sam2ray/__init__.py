"""From an archive of images and videos to a dataset of masks; the only package that imports ray."""

from .dataset import Dataset, UnitResult, open  # noqa: A004 sam2ray.open(OUT), as tarfile.open
from .errors import RootRefused, Sam2RayError, StorageError, UsageError

__all__ = [
    "Dataset",
    "RootRefused",
    "Sam2RayError",
    "StorageError",
    "UnitResult",
    "UsageError",
    "open",
]
