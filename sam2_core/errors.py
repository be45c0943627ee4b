"""The errors of the core, one tree.

Sam2Error
 ├── ConfigError          a setting that cannot work            (also a ValueError)
 ├── PromptError          a prompt that makes no sense          (also a ValueError)
 ├── ImageError           a picture that cannot be read         (also a ValueError)
 ├── FrameSourceError     a clip that cannot be read            (also a ValueError)
 └── CheckpointError      weights that cannot be used
      ├── CheckpointUnreadable   not a checkpoint, cut off, or holding code
      ├── CheckpointMismatch     a checkpoint of another model
      └── DownloadFailed         the published file could not be fetched
"""


class Sam2Error(Exception):
    """Base of everything that sam2_core raises on purpose."""


class ConfigError(Sam2Error, ValueError):
    """A setting that cannot work."""


class PromptError(Sam2Error, ValueError):
    """A prompt that makes no sense for its picture."""


class ImageError(Sam2Error, ValueError):
    """A picture that cannot be turned into RGB pixels."""


class FrameSourceError(Sam2Error, ValueError):
    """A clip whose frames cannot be read as asked."""


class CheckpointError(Sam2Error):
    """Weights that cannot be used."""


class CheckpointUnreadable(CheckpointError):
    """A file that is no checkpoint, is cut off, or would run code."""


class CheckpointMismatch(CheckpointError):
    """A checkpoint of another model than the one asked for."""


class DownloadFailed(CheckpointError):
    """A published checkpoint could not be fetched."""
