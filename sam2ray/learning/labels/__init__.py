"""Places that labels come from, each a `LabelSource`: none knows what is learned from it."""

from .labelled import BadLabels, LabelledImage, LabelledVideo, LabelSource

__all__ = ["BadLabels", "LabelSource", "LabelledImage", "LabelledVideo"]
