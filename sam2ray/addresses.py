"""An address -> what tells its file from all others, apart from what lets one in.

Signatures, tokens and passwords never reach a table, an id or a message: those have the public
address alone. What is asked for is the whole one, which lives as long as a run does. Other modules
hold texts; this one alone knows what in them is secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote, unquote_plus

# Names in the query of an address, in lower case. `key` is none of them: it often names the file.
_SECRETS = frozenset(
    {
        *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid"),
        *("x-goog-signature", "x-goog-credential", "googleaccessid"),
        *("sig", "signature", "key-pair-id", "token", "sas", "sastoken", "jwt", "hmac", "hdnea"),
        *("hdnts", "apikey", "api_key", "api-key", "subscription-key", "auth", "authorization"),
        *("bearer", "password", "passwd", "pwd", "secret"),
    }
)
_SECRET_ENDINGS = ("token", "signature", "secret", "password", "apikey", "api-key", "api_key")
# What says how long a signature lasts, and of whom it is: it changes with the signature.
_BESIDE_SECRETS = frozenset({"expires", "expiry", "expire", "exp", "policy"})
_FAMILIES = ("x-amz-", "x-goog-")
_OF_AZURE = frozenset(
    {
        *("sv", "ss", "srt", "sp", "se", "st", "spr", "sip", "sr", "si", "sdd", "ses", "scid"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"),
        *("rscc", "rscd", "rsce", "rscl", "rsct"),
    }
)
_NO_HOST = "name:///"
_LOCAL = ("file://", "/", "~")
_USER = re.compile(r"(?<=://)[^/?#]*@")
_PASSWORD = re.compile(r"(?<=://)[^/?#]*:[^/?#]*@")
# A password with a slash in it, as those of AWS are: what follows the colon is no port. Names of
# access points have colons, too.
_PASSWORD_WITH_SLASH = re.compile(r"(?<=://)(?!arn:)[^/?#@\[]*:(?!\d*(?:[/?#]|$))[^?#]*@")
_LEAST_TO_HIDE = 4  # characters; shorter values stand in any text
# Names of objects may have question marks: only what looks like a signature is taken for one.
_LEAST_OUTSIDE_THE_WEB = 16
_UNKNOWN = datetime.min.replace(tzinfo=timezone.utc)

_IN_TEXT = re.compile(r"\w+://[^\s'\"<>\\]+")
_QUERY_IN_TEXT = re.compile(r"(\w+://[^\s'\"?]+)\?[^\s'\"]+")
_USER_IN_TEXT = re.compile(r"(\w+://)[^\s'\"/?#]*@")
_PAIR_IN_TEXT = re.compile(
    r"(?i)(?<![\w-])((?:[\w-]*(?:" + "|".join(_SECRET_ENDINGS) + r")|"
    r"x-amz-credential|awsaccesskeyid|x-goog-credential|googleaccessid|key-pair-id|sig|sas)=)"
    r"[^\s&'\"<>,;)]+"
)
_CREDENTIALS_IN_TEXT = re.compile(r"(?i)\b(basic|bearer)\s+[\w+/=.~-]{8,}")


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart."""

    public: str
    whole: str = field(repr=False)
    secret: str | None = None  # what of it is secret, in words; None: nothing

    def hide(self, text: str) -> str:
        """A text without what only the whole address has."""
        if self.secret is None:
            return without_secrets(text)
        text = text.replace(self.whole, self.public)
        for value in sorted(self._values(), key=len, reverse=True):
            text = text.replace(value, "***")
        return without_secrets(text)

    def _values(self) -> set[str]:
        tail = self.whole.partition("?")[2]
        dropped = [p for p in re.split("[?&;#]", tail) if p and p not in self.public]
        values = {pair.partition("=")[2] for pair in dropped}
        if found := _user_in(self.whole):
            values |= {found[0][:-1], found[0][:-1].partition(":")[2]}
        either_way = values | {unquote(v) for v in values} | {unquote_plus(v) for v in values}
        either_way |= {quote(value, safe="") for value in either_way}
        long = {value for value in either_way if len(value) >= _LEAST_TO_HIDE}
        return {value for value in long if value not in self.public}


def take_apart(uri: str) -> Address:
    """An address without what may not be written down; the same with any signature."""
    if "://" not in uri or uri.startswith(_LOCAL) or ("?" not in uri and "@" not in uri):
        return Address(uri, uri)
    known, secret = uri, None
    if _user_in(known):
        known, secret = without_user(known), "the user in front of its host"
    head, mark, tail = known.partition("?")
    if mark:
        query, _, fragment = tail.partition("#")
        names = [_name(pair) for pair in _pairs(query)]
        least = 1 if _is_web(uri) else _LEAST_OUTSIDE_THE_WEB
        opening = [
            p for p in _pairs(f"{query}&{fragment}") if _opens(_name(p)) and _value(p, least)
        ]
        if opening:
            secret = secret or opening[0].partition("=")[0]
            kept = [pair for pair in _pairs(query) if not _goes(_name(pair), names)]
            known = head + ("?" + "&".join(kept) if kept else "")
    return Address(known, uri, secret)


def public_name(name: str) -> str:
    """The same of a name within a source, as files of prompts have them."""
    if "://" in name or "?" not in name:
        return take_apart(name).public
    return take_apart(f"{_NO_HOST}{name}").public.removeprefix(_NO_HOST)


def public_text(text: str) -> str:
    """A text of a user, in which every address has what is public of it; the rest stays."""
    if "://" not in text:
        return text
    return _IN_TEXT.sub(lambda found: take_apart(found[0]).public, text)


def without_secrets(text: str) -> str:
    """A message in which nobody finds a signature or a password, whoever wrote it.

    Signatures travel in what follows the question mark of an address: all of it goes.
    """
    text = _USER_IN_TEXT.sub(r"\1", _QUERY_IN_TEXT.sub(r"\1?...", text))
    text = _PAIR_IN_TEXT.sub(r"\1***", text)
    return _CREDENTIALS_IN_TEXT.sub(r"\1 ***", text)


def user_of(uri: str) -> str | None:
    """`name:password` as an address spells it; None if it has no user."""
    found = _user_in(uri)
    return unquote(found[0][:-1]) if found else None


def without_user(uri: str) -> str:
    """The address without `name:password@`."""
    found = _user_in(uri)
    return uri if found is None else uri[: found.start()] + uri[found.end() :]


def ends_at(uri: str) -> datetime | None:
    """When a signature ends, as far as its address says; None if it does not."""
    said = {_name(pair): unquote(pair.partition("=")[2]) for pair in re.split("[?&;#]", uri)}
    try:
        for family in _FAMILIES:
            if f"{family}date" in said and f"{family}expires" in said:
                since = datetime.strptime(said[f"{family}date"], "%Y%m%dT%H%M%S%z")
                return since + timedelta(seconds=int(said[f"{family}expires"]))
        if "sig" in said and "se" in said:
            end = datetime.fromisoformat(said["se"].replace("Z", "+00:00"))
            return end if end.tzinfo else end.replace(tzinfo=timezone.utc)
        if "expires" in said:
            return datetime.fromtimestamp(int(said["expires"]), timezone.utc)
    except (ValueError, OverflowError, OSError):  # it is only a hint, and anybody may write it
        return None
    return None


def last_to_end(signed: Sequence[str]) -> str | None:
    """Of one file's signed addresses the one that lasts longest, or that was written last."""
    if not signed:
        return None
    return max(enumerate(signed), key=lambda item: (ends_at(item[1]) or _UNKNOWN, item[0]))[1]


def _is_web(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))


def _user_in(uri: str) -> re.Match[str] | None:
    """Who asks, by an address; outside of the web a name alone is part of the place."""
    return (_USER if _is_web(uri) else _PASSWORD).search(uri) or _PASSWORD_WITH_SLASH.search(uri)


def _pairs(query: str) -> Iterator[str]:
    return (pair for pair in re.split("[?&;]", query) if pair)


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0]).strip().lower()


def _value(pair: str, least: int) -> bool:
    return len(pair.partition("=")[2]) >= least


def _opens(name: str) -> bool:
    """Whether what has this name lets one in."""
    return name in _SECRETS or name.endswith(_SECRET_ENDINGS)


def _goes(name: str, beside: list[str]) -> bool:
    """Whether a part of a query goes with the secret that stands beside it."""
    if _opens(name) or name in _BESIDE_SECRETS or name.startswith(_FAMILIES):
        return True
    return name in _OF_AZURE and "sig" in beside
