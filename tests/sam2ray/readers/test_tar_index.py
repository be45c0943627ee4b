"""Headers of tar files as other programs write them, and as nobody should."""

import io
import struct
import tarfile
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from make_archive import tar_bytes

from sam2ray.readers import tar_search
from sam2ray.readers.slices import DAMAGED
from sam2ray.readers.tar_headers import FILE
from sam2ray.readers.tar_index import TarMember, tar_members
from sam2ray.readers.tar_search import find_header

FORMATS = {
    "gnu": tarfile.GNU_FORMAT,
    "ustar": tarfile.USTAR_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}
KINDS = {FILE, "link", "device", "folder", "sparse file", "unknown type", DAMAGED}


def members_of(content: bytes) -> list[TarMember]:
    return list(tar_members(io.BytesIO(content), len(content)))


def files_of(content: bytes) -> list[tuple[str, bytes]]:
    return [
        (member.name, content[member.offset : member.offset + member.length])
        for member in members_of(content)
        if member.kind == FILE
    ]


def header(
    name: bytes = b"a.jpg",
    size: bytes = b"%011o\0" % 3,
    kind: bytes = b"0",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header, right or wrong as a test wants it."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[257 : 257 + len(magic)] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum.ljust(8, b"\0")
    return bytes(block)


def body(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


GOOD = header() + body(b"abc")
END = bytes(1024)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", b"%011o\0" % len(records), kind) + body(records)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


# ---------------------------------------------------------------- what others write


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "path",
    ["a.jpg", "folder/a b.jpg", "./a.jpg", "x" * 90 + "/" + "y" * 60 + ".jpg", "gebäude/ü.jpg"],
)
def test_names_and_bodies_are_those_that_tarfile_wrote(name, path):
    members = [(path, b"1234"), ("empty.jpg", b""), ("last.jpg", bytes(700))]
    assert files_of(tar_bytes(members, FORMATS[name])) == members


@pytest.mark.parametrize("name", ["gnu", "pax"])
def test_a_name_of_thousands_of_characters_is_read(name):
    path = "/".join(["folder" * 10] * 60) + "/a.jpg"
    assert files_of(tar_bytes([(path, b"1")], FORMATS[name])) == [(path, b"1")]


def test_links_devices_pipes_and_folders_are_told_apart_from_files():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in [
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("tty", tarfile.CHRTYPE),
            ("disk", tarfile.BLKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("folder", tarfile.DIRTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("a.jpg"))
    kinds = [(member.name.rstrip("/"), member.kind) for member in members_of(file.getvalue())]
    assert kinds == [
        ("link", "link"),
        ("hard", "link"),
        ("tty", "device"),
        ("disk", "device"),
        ("pipe", "device"),
        ("folder", "folder"),
        ("a.jpg", FILE),
    ]


def test_a_size_in_gnus_binary_form_is_read():
    size = b"\x80" + (3).to_bytes(11, "big")
    assert files_of(header(size=size) + body(b"abc") + END) == [("a.jpg", b"abc")]


def test_a_pax_size_replaces_that_of_the_header():
    content = pax(record(b"size", b"3")) + header(size=b"%011o\0" % 0) + body(b"abc") + GOOD + END
    assert files_of(content) == [("a.jpg", b"abc"), ("a.jpg", b"abc")]


def test_a_global_pax_header_renames_nothing():
    content = pax(record(b"path", b"other.jpg"), b"g") + GOOD + END
    assert files_of(content) == [("a.jpg", b"abc")]


def test_the_prefix_of_ustar_belongs_to_the_name_and_gnus_does_not():
    posix = header(prefix=b"folder") + body(b"abc")
    gnu = header(prefix=b"14563247112", magic=b"ustar  \0") + body(b"abc")
    assert [name for name, _ in files_of(posix + gnu + END)] == ["folder/a.jpg", "a.jpg"]


def test_sparse_files_are_passed_over_with_their_maps():
    map_goes_on = bytearray(header(kind=b"S"))
    map_goes_on[482] = 1
    map_goes_on[148:156] = b" " * 8
    map_goes_on[148:156] = b"%06o\0 " % sum(map_goes_on)
    old = bytes(map_goes_on) + bytes(504) + b"\1" + bytes(7) + bytes(512) + body(b"abc")
    new = pax(record(b"GNU.sparse.major", b"1")) + GOOD
    kinds = [member.kind for member in members_of(old + new + GOOD + END)]
    assert kinds == ["sparse file", "sparse file", FILE]


def test_shards_that_were_written_one_behind_the_other_are_both_read():
    content = tar_bytes([("a.jpg", b"1")]) + tar_bytes([("b.jpg", b"2")])
    assert files_of(content) == [("a.jpg", b"1"), ("b.jpg", b"2")]


@pytest.mark.parametrize("end", [bytes(100), bytes(512), END, bytes(10240), bytes(60_000)])
def test_zeros_of_any_number_mark_the_end(end):
    assert [member.kind for member in members_of(GOOD + end)] == [FILE]


def test_tars_with_short_ends_are_read_one_behind_the_other():
    assert [member.kind for member in members_of((GOOD + END) * 3)] == [FILE] * 3


# ---------------------------------------------------------------- what nobody should write


@pytest.mark.parametrize(
    "path", ["../../etc/passwd.jpg", "/etc/a.jpg", "..", "a/../../b.jpg", "C:\\a.jpg", "a\nb.jpg"]
)
def test_a_name_that_leads_out_of_the_shard_is_only_a_name(path):
    assert files_of(tar_bytes([(path, b"1")])) == [(path, b"1")]


def test_a_name_that_is_no_utf8_is_written_so_that_a_table_can_keep_it():
    (member,) = members_of(header(name=b"\xff\xfe.jpg") + body(b"abc") + END)
    assert member.name == "\\xff\\xfe.jpg"
    assert member.name.encode()


# What a file begins with, the class of its only damage, its place, and the members around it.
DAMAGES: dict[str, tuple[bytes, str, int, int]] = {
    "nothing": (b"", "truncated", 0, 0),
    "nothing but text": (b"this is no tar " * 100, "unsupported", 0, 0),
    "a page": (b"<!DOCTYPE html><html>" + bytes(2000), "unsupported", 0, 0),
    "a short header": (header()[:300], "truncated", 0, 0),
    "a wrong checksum": (
        header(checksum=b"000001\0 ") + body(b"abc") + GOOD + END,
        "corrupt",
        0,
        1,
    ),
    "a checksum of letters": (
        header(checksum=b"hello\0") + body(b"") + GOOD + END,
        "corrupt",
        0,
        1,
    ),
    "a size of letters": (GOOD + header(size=b"hello") + GOOD + END, "corrupt", 1024, 2),
    "a negative size": (GOOD + header(size=b"\xff" * 12) + GOOD + END, "corrupt", 1024, 2),
    "a size beyond 64 bits": (header(size=b"\x80" + b"\xff" * 11) + GOOD + END, "corrupt", 0, 1),
    "a long name that is cut off": (
        GOOD + header(kind=b"L", size=b"%011o\0" % 900) + b"abc",
        "truncated",
        1024,
        1,
    ),
    "a long name of a gigabyte": (
        header(kind=b"L", size=b"%011o\0" % 2**30) + GOOD + END,
        "corrupt",
        0,
        1,
    ),
    "a PAX header of a gigabyte": (
        GOOD + header(kind=b"x", size=b"%011o\0" % 2**30) + GOOD + END,
        "corrupt",
        1024,
        2,
    ),
    "a PAX header and no member": (GOOD + pax(record(b"path", b"b")) + END, "corrupt", 2048, 1),
    "a sparse map without end": (
        GOOD + header(kind=b"S", prefix=b"\1" * 155) + b"\1" * 2048,
        "truncated",
        1024,
        1,
    ),
    "gzip": (b"\x1f\x8b\x08" + bytes(600) + GOOD, "unsupported", 0, 0),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), "unsupported", 0, 0),
    "xz": (b"\xfd7zXZ\0" + bytes(600), "unsupported", 0, 0),
    "bzip2": (b"BZh9" + bytes(600), "unsupported", 0, 0),
    "no end": (GOOD + GOOD, "truncated", 2048, 2),
    "no end nor padding": (GOOD + header() + b"abc", "truncated", 1539, 2),
    "garbage behind a member": (GOOD + b"\1" * 600, "corrupt", 1024, 1),
    "garbage behind the end": (GOOD + END + b"\1" * 600, "corrupt", 1024, 1),
    "garbage between members": (GOOD + b"\1" * 777 + GOOD + END, "corrupt", 1024, 2),
    "a hole between members": (GOOD + bytes(4096) + GOOD + END, "corrupt", 1024, 2),
    "one block of zeros": (GOOD + bytes(512) + GOOD + END, "corrupt", 1024, 2),
    "a hole that ends in a body": (
        GOOD + bytes(4096) + b"x" * 900 + GOOD + END,
        "corrupt",
        1024,
        2,
    ),
    "a hole up to the end": (GOOD + bytes(2 << 20), "corrupt", 1024, 1),
    "a megabyte of zeros between tars": (GOOD + bytes(1 << 20) + GOOD + END, "corrupt", 1024, 2),
    "a body without padding": (header() + b"abc" + GOOD + END, "corrupt", 1024, 2),
    "a member without a name": (header(name=b"") + body(b"abc") + GOOD + END, "corrupt", 0, 1),
    "a pipe that is cut off": (
        GOOD + header(kind=b"?", size=b"%011o\0" % 99),
        "truncated",
        1024,
        1,
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_told_once_with_its_place_and_all_around_it_is_read(name):
    content, error_class, place, sound = DAMAGES[name]
    members = members_of(content)
    (damage,) = (member for member in members if member.fault is not None)
    assert damage.kind == DAMAGED
    assert (damage.offset, damage.name) == (place, f"damage at byte {place}")
    assert damage.offset + damage.length <= len(content)
    assert damage.fault is not None
    assert damage.fault.error_class.value == error_class, damage
    assert damage.fault.message
    assert files_of(content) == [("a.jpg", b"abc")] * sound


def test_a_broken_header_is_told_with_the_name_that_it_seems_to_have():
    (damage, _) = members_of(header(b"b/c.png", checksum=b"1\0") + body(b"abc") + GOOD + END)
    assert damage.fault is not None
    assert "'b/c.png'" in damage.fault.message
    assert "the next member that was found is at byte 1024" in damage.fault.message


@pytest.mark.parametrize("claimed", [2000, 5000, 2**40, 2**63 - 1])
@pytest.mark.parametrize("there", [0, 3, 700])
def test_a_member_that_is_cut_off_is_told_and_what_follows_it_is_read(claimed, there):
    size = b"\x80" + claimed.to_bytes(11, "big")
    content = header(b"cut.jpg", size) + b"x" * there + GOOD + GOOD + END
    cut, *others = members_of(content)
    assert (cut.name, cut.kind, cut.length) == ("cut.jpg", FILE, claimed)
    assert cut.fault is not None
    assert cut.fault.error_class.value == "truncated"
    assert f"of the {claimed} bytes of 'cut.jpg', {there} are there" in cut.fault.message
    assert [(member.kind, member.fault) for member in others] == [(FILE, None)] * 2


def test_headers_in_a_tar_within_the_tar_are_not_taken_for_members():
    inner = tar_bytes([("inside.jpg", b"1")])
    sound = tar_bytes([("inner.tar", inner), ("a.jpg", b"abc")])
    damaged = sound[: 512 + len(inner)] + b"\1" * 512 + sound[512 + len(inner) :]
    assert [member.name for member in members_of(damaged)] == [
        "inner.tar",
        "damage at byte 10752",
        "a.jpg",
    ]
    assert [member.name for member in members_of(sound[:9000])] == ["inner.tar"]


BROKEN_PAX = {
    "a record without a length": b"path=a\n",
    "a length that is too long": b"99 path=a\n",
    "a length of nothing": b"0 path=a\n",
    "a length of its digits alone": b"3 \n",
    "a record that does not end": record(b"path", b"b.jpg")[:-1] + b" ",
    "a length of thousands of digits": b"9" * 5000 + b" path=a\n",
    "a size of letters": record(b"size", b"many"),
    "a size beyond 64 bits": record(b"size", b"9" * 19),
    "a negative size": record(b"size", b"-3"),
    "an empty name": record(b"path", b""),
    "a signed length": b"+9 path=a\n",
    "digits of another script": "٩ path=a\n".encode(),
}


@pytest.mark.parametrize("name", BROKEN_PAX)
def test_a_broken_pax_header_costs_its_own_member_alone(name):
    members = members_of(pax(BROKEN_PAX[name]) + GOOD + GOOD + END)
    assert [member.kind for member in members] == [DAMAGED, FILE]
    assert members[0].fault is not None
    assert "PAX header" in members[0].fault.message or "name" in members[0].fault.message


def test_headers_of_a_type_that_nobody_knows_are_passed_over():
    members = members_of(header(kind=b"?") + body(b"abc") + GOOD + END)
    assert [member.kind for member in members] == ["unknown type", FILE]


@pytest.mark.parametrize("cut", range(0, 4608, 167))
def test_what_stands_before_a_cut_is_kept_and_the_cut_is_told(cut):
    each = 3 * 512  # a header, and 600 bytes in two blocks
    content = tar_bytes([(f"{n}.jpg", bytes([n]) * 600) for n in range(3)])[:cut]
    members = members_of(content)
    names = [member.name for member in members if member.kind == FILE]
    assert names == [f"{n}.jpg" for n in range(3) if n * each + 512 <= cut]
    *before, last = members
    assert not any(member.fault for member in before)
    assert last.fault is not None
    assert last.fault.error_class.value == "truncated"


SOUND = tar_bytes([(f"folder/{n}.jpg", bytes([65 + n]) * (1100 + n * 300)) for n in range(4)])


@settings(deadline=None, max_examples=300)
@example(start=6308, length=2512, put=b"")  # a member goes, and all headers that are left fit
@example(start=0, length=2048, put=b"")  # another one goes, and nothing of it is left
@example(start=6669, length=1, put=b"")  # a header moves up, and has no name
@example(start=1811, length=2048, put=b"")  # of what goes, a rest lies in a padding
@example(start=6466, length=2910, put=bytes(2910))  # the last one is wiped out
@given(
    start=st.integers(0, 9000),
    length=st.integers(1, 3000),
    put=st.one_of(st.just(b""), st.binary(max_size=64), st.integers(1, 3000).map(bytes)),
)
def test_whatever_happens_in_one_place_the_others_are_read_and_no_loss_goes_untold(
    start, length, put
):
    content = SOUND[:start] + put + SOUND[start + length :]
    found = dict(files_of(content))
    expected = dict(files_of(SOUND))
    for member in members_of(SOUND):
        begins, ends = member.offset - 512, member.offset + member.length
        if ends <= start or begins >= start + length:
            assert found[member.name] == expected[member.name]
    is_told = any(member.fault for member in members_of(content))
    # What reaches from one body into another may leave all headers in order: then the picture that
    # begins as one and ends as the other is what is wrong, for a decoder to see. And a checksum is
    # a sum: now and then it fits another name.
    is_in_a_picture = any(body != expected.get(name) for name, body in found.items())
    # And what ends amid a block of zeros ends as some programs leave it, whatever went before.
    is_odd = len(content) % 512 > 0
    # Who takes whole members out, or wipes the last ones, leaves a sound archive: what it leaves of
    # them lies where padding is, which no reader looks at.
    between = [(0, 0), *((m.offset + m.length, _end_of(m)) for m in members_of(SOUND))]
    seen = 0 if not any(put) else len(put)
    is_sound = any(first <= start and start + seen <= last for first, last in between)
    is_sound |= content in WITHOUT_SOME
    assert is_told or is_in_a_picture or is_odd or is_sound or list(found) == list(expected)


def _end_of(member: TarMember) -> int:
    return member.offset + -(-member.length // 512) * 512


_BOUNDS = [0, *map(_end_of, members_of(SOUND))]
WITHOUT_SOME = {SOUND[:first] + SOUND[last:] for first, last in combinations(_BOUNDS, 2)}


@settings(deadline=None, max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.binary(max_size=64)), max_size=6),
    length=st.integers(0, len(SOUND)),
)
def test_random_damage_never_raises_and_never_leaves_the_file(changes, length):
    content = bytearray(SOUND)
    for place, new in changes:
        content[place : place + len(new)] = new
    content = bytes(content[:length])
    for member in members_of(content):
        assert member.kind in KINDS
        assert 0 <= member.length < 2**63
        assert 0 <= member.offset < 2**63
        assert member.name.encode()


@settings(deadline=None, max_examples=200)
@given(
    blocks=st.lists(
        st.sampled_from(
            [
                GOOD,
                bytes(512),
                pax(record(b"path", b"q")),
                header(kind=b"L"),
                header(kind=b"S"),
                b"\1" * 512,
                struct.pack("512s", b"x"),
            ]
        ),
        max_size=12,
    )
)
def test_blocks_in_any_order_end(blocks):
    content = b"".join(blocks)
    assert len(members_of(content)) <= len(content) // 512 + 1


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


@pytest.mark.parametrize("between", [b"", b"\1" * 5000])
def test_a_shard_of_headers_that_claim_more_than_there_is_costs_no_more_than_its_size(between):
    claims = header(size=b"%011o\0" % 2**32) + between
    content = claims * 400 + GOOD + END
    file = Counted(content)
    found = list(tar_members(file, len(content)))
    assert len(found) == 401
    assert [one.name for one in found if one.fault is None] == ["a.jpg"]
    assert file.read_bytes < 400 * (20 << 10) + 2 * len(content)  # a small window for each


def test_a_pax_header_of_too_many_records_costs_its_own_member_alone():
    many = pax(record(b"a", b"") * 1001)
    found = members_of(many + GOOD + header(b"b.jpg") + body(b"xyz") + END)
    assert [one.fault is None for one in found] == [False, True]
    assert "more than 1,000 records" in found[0].fault.message
    assert found[1].name == "b.jpg"
    enough = members_of(pax(record(b"a", b"") * 1000) + GOOD + END)
    assert [one.fault for one in enough] == [None]


def test_a_header_is_found_wherever_the_windows_of_a_search_end(monkeypatch):
    monkeypatch.setattr(tar_search, "_WINDOW_BYTES", 1000)
    old = header(magic=b"")  # found where blocks begin alone
    for start in range(0, 3000, 61):
        content = b"\1" * start + GOOD
        assert find_header(io.BytesIO(content), 0, len(content)) == start
    content = b"\1" * 2560 + old
    assert find_header(io.BytesIO(content), 0, len(content)) == 2560
    assert find_header(io.BytesIO(content), 2561, len(content)) is None
