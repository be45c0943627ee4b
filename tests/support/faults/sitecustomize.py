"""Units that break things; every Python process with this folder on its path loads it.

A file whose bytes hold one of the words below makes the process that decodes it die, as a damaged
file may do to a decoder in C, or take its time.
"""

import os
import sys
import time
from importlib.abc import MetaPathFinder

DEADLY, SLOW = b"this unit kills", b"this unit is slow"


def _break(data: bytes) -> None:
    if DEADLY in data:
        os.kill(os.getpid(), 9)
    if SLOW in data:
        time.sleep(0.5)


class _Finder(MetaPathFinder):
    """Wraps decode_picture as soon as its module is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "sam2ray.stages.prepare" or getattr(self, "busy", False):
            return None
        self.busy = True
        import importlib

        from sam2ray.stages import decode

        through = decode.decode_picture

        def decode_picture(data, **options):
            _break(bytes(data))
            return through(data, **options)

        decode.decode_picture = decode_picture
        self.busy = False
        sys.meta_path.remove(self)
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, _Finder())
