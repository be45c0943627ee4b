"""Texts and elements -> HTML. Whatever is no markup already is escaped, so nobody has to think."""

from __future__ import annotations

import base64
from html import escape

from ..addresses import public_text, without_secrets
from ..tables import harmless

_VOID = frozenset(("img", "input", "meta"))
_MOST_CHARACTERS = 400  # of one text from outside
_GAP = " … "


class Html(str):
    """Markup; any other text is escaped where it goes into an element."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | int | None) -> Html:
    """An element; `class_` stands for class, `aria_label` for aria-label, "" for a bare one."""
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in _VOID:
        return Html(opened)
    return Html(f"{opened}{joined(*children)}</{name}>")


def joined(*children: str) -> Html:
    """Pieces one after another, with those escaped that are plain text."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def _attribute(key: str, value: str | int | None) -> str:
    if value is None:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f' {name}="{escape(str(value))}"' if value != "" else f" {name}"


def from_outside(text: str, most: int = _MOST_CHARACTERS) -> str:
    """A name or message that anybody may have written: short, visible, without secrets."""
    shown = harmless(without_secrets(public_text(text)))
    if len(shown) <= most:
        return shown
    half = (most - len(_GAP)) // 2
    return f"{shown[:half]}{_GAP}{shown[-half:]}"


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
