"""Refuses a foreign `ops` before its missing names turn into a riddle; sam2_core imports it first.

`ops` is a taken name on the package index, and many projects have a folder of that name.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).parent.parent  # of both packages: they are installed side by side
OWN_NAME = "RunLengths"  # among the public names of our ops, and of no other that we know


def complaint_about_ops() -> str | None:
    """Say which `ops` hides ours and what to do about it, or None if all is well."""
    file = _file_of_ops()
    if file is None:
        return (
            f"sam2_core needs the package `ops` that is installed with it, and {HOME} has none. "
            "Install the distribution sam2ray again: it ships both."
        )
    if _lies_beside_us(file) or _has_our_names(file):
        return None
    return (
        f"`import ops` finds {file}, which is not the `ops` of sam2ray but hides it. "
        "Uninstall or rename that one (if it came from the package index: pip uninstall ops), "
        f"or put {HOME} before it on PYTHONPATH."
    )


def _file_of_ops() -> Path | None:
    if "ops" in sys.modules:
        origin = getattr(sys.modules["ops"], "__file__", None)
    else:
        spec = find_spec("ops")
        origin = spec.origin if spec else None
    return Path(origin) if origin else None


def _lies_beside_us(file: Path) -> bool:
    own = HOME / "ops"
    return own.is_dir() and file.parent.samefile(own)


def _has_our_names(file: Path) -> bool:
    # Ray's py_modules unpacks each package into a folder of its own: ours may lie elsewhere.
    # Reading instead of importing runs no foreign code and hides no failure of ours.
    return file.name == "__init__.py" and OWN_NAME in file.read_text(encoding="utf-8")


if complaint := complaint_about_ops():
    raise ImportError(complaint, name="ops")
