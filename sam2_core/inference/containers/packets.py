"""Packets of a stream -> those before the first that is broken, by its container or its content.

A file that lost bytes between its packets has its decoder fed with parts of two. Some decoders make
a picture of that, a wrong one; but packets of most codecs can be told from bytes of another place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .broken_bytes import Break

if TYPE_CHECKING:
    import av

_MOST_UNITS = 4096  # in a packet; more are not looked at
_LEAST_BYTES = 16  # shorter packets say that nothing changes
_IN_UNITS = ("h264", "hevc")  # by the codec's name
_STARTS = {
    "mjpeg": b"\xff\xd8",
    "png": b"\x89PNG",
    "mpeg4": b"\0\0\x01",
    "mpeg1video": b"\0\0\x01",
    "mpeg2video": b"\0\0\x01",
}


@dataclass(frozen=True, slots=True)
class PacketRule:
    """What every packet of a stream is like."""

    fits: Callable[[memoryview], bool]
    sees_the_end: bool  # of a packet, too: else the one before a broken one may be torn


def rule_of(codec: str, extradata: bytes | None) -> PacketRule | None:
    """The rule of a stream; None if none is known."""
    if codec in _IN_UNITS:
        return _rule_of_units(codec, extradata or b"")
    start = _STARTS.get(codec)
    if start is None:
        return None
    return PacketRule(lambda packet: bytes(packet[: len(start)]) == start, sees_the_end=False)


def _rule_of_units(codec: str, extradata: bytes) -> PacketRule | None:
    at = 4 if codec == "h264" else 21  # where extradata say how long a length is
    if extradata[:1] != b"\x01":
        return PacketRule(_begins_a_unit, sees_the_end=False)
    if len(extradata) <= at:
        return None
    return PacketRule(_units_behind_lengths(1 + (extradata[at] & 3)), sees_the_end=True)


def _begins_a_unit(packet: memoryview) -> bool:
    return bytes(packet[:3]) == b"\0\0\x01" or bytes(packet[:4]) == b"\0\0\0\x01"


def _units_behind_lengths(length_bytes: int) -> Callable[[memoryview], bool]:
    """H.264 and HEVC as MP4 and Matroska have them."""

    def fits(packet: memoryview) -> bool:
        at, end = 0, len(packet)
        for _ in range(_MOST_UNITS):
            if at == end:
                return True
            at += length_bytes + int.from_bytes(packet[at : at + length_bytes], "big")
            if at > end:
                return False
        return True

    return fits


class PacketGate:
    """Lets packets pass up to the first that is broken, and then says what was broken where."""

    def __init__(
        self, found: Break | None, rule: PacketRule | None, *, numbers_by_time: bool
    ) -> None:
        """With `numbers_by_time`, one packet that is not as it should be costs no other its number.

        Then it is left to the decoder, unless the next one is broken, too. A rule counts from the
        first packet on that follows it, which has to be the first of all.
        """
        self.fault: str | None = None
        self.ends_at: int | None = None  # the byte from which on packets do not count
        self._found = found
        self._rule = rule
        self._is_proven = False
        self._most_refused = 2 if numbers_by_time else 1
        self._trusts_marks = not numbers_by_time
        self._last_place = 0

    def passing(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Packets up to the first that is broken."""
        good: av.Packet | None = None  # the last one that is
        refused: list[av.Packet] = []  # those behind it
        for packet in packets:
            if not packet.size:  # the stream has ended
                continue
            fault = self._fault_of(packet)
            if fault is None and self._refuses(packet):
                refused.append(packet)
                if len(refused) < self._most_refused:
                    continue
                fault = f"what should be a packet at byte {refused[0].pos or 0} is none"
                assert self._rule is not None
                if good is not None and self._rule.sees_the_end:
                    yield good
                elif good is not None:
                    refused.insert(0, good)
                self._end(fault, refused[0].pos or 0)
                return
            if good is not None:
                yield good
            yield from refused
            if fault is not None:
                self._end(fault, self._last_place)
                return
            good, refused = packet, []
        if good is not None:
            yield good
        yield from refused
        if self._found is not None:  # pictures may have been there that nobody knows of
            self._end(self._found.reason, self._found.at)

    def _end(self, fault: str, at: int) -> None:
        self.fault, self.ends_at = fault, at

    def _fault_of(self, packet: av.Packet) -> str | None:
        """What the container, or its reader, has against a packet."""
        if packet.pos is not None:
            self._last_place = packet.pos
        if self._found is not None and self._last_place + packet.size > self._found.at:
            return self._found.reason
        if packet.is_corrupt and self._trusts_marks:
            return f"the packet at byte {self._last_place} is damaged"
        return None

    def _refuses(self, packet: av.Packet) -> bool:
        # MP4 and Matroska mark what the end of the file cuts off: that is known already.
        if self._rule is None or packet.size < _LEAST_BYTES or packet.is_corrupt:
            return False
        fits = self._rule.fits(memoryview(packet))
        if not fits and not self._is_proven:
            self._rule = None
            return False
        self._is_proven = True
        return not fits
