"""Headers of tar files as other programs write them, and as nobody should."""

import io
import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_archive import tar_bytes

from sam2ray.readers.slices import DAMAGED
from sam2ray.readers.tar_index import FILE, TarMember, tar_members

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


@pytest.mark.parametrize("end", [b"", bytes(512), END, bytes(10240), bytes(60_000), bytes(100)])
def test_the_end_may_be_marked_in_any_way_or_not_at_all(end):
    assert [member.kind for member in members_of(GOOD + end)] == [FILE]


def test_a_last_body_without_its_padding_is_whole():
    assert [member.kind for member in members_of(header() + b"abc")] == [FILE]


# ---------------------------------------------------------------- what nobody should write


@pytest.mark.parametrize(
    "path", ["../../etc/passwd.jpg", "/etc/a.jpg", "..", "a/../../b.jpg", "C:\\a.jpg", "a\nb.jpg"]
)
def test_a_name_that_leads_out_of_the_shard_is_only_a_name(path):
    assert files_of(tar_bytes([(path, b"1")])) == [(path, b"1")]


def test_a_name_that_is_no_utf8_is_written_so_that_a_table_can_keep_it():
    (member,) = members_of(header(name=b"\xff\xfe.jpg") + body(b"abc"))
    assert member.name == "\\xff\\xfe.jpg"
    assert member.name.encode()


HOSTILE = {
    "nothing but text": b"this is no tar" * 100,
    "a short header": header()[:300],
    "a wrong checksum": header(checksum=b"000001\0 "),
    "a checksum of letters": header(checksum=b"hello\0"),
    "a size of letters": header(size=b"hello"),
    "a negative size": header(size=b"\xff" * 12),
    "a size beyond 64 bits": header(size=b"\x80" + b"\xff" * 11),
    "a size of 8 EiB less one": header(size=b"\x80" + (2**63 - 1).to_bytes(11, "big")),
    "a body that is cut off": header(size=b"%011o\0" % 5000) + b"abc",
    "a body of a terabyte": header(size=b"\x80" + (2**40).to_bytes(11, "big")) + body(b"abc"),
    "a long name that is cut off": header(kind=b"L", size=b"%011o\0" % 900) + b"abc",
    "a long name of a gigabyte": header(kind=b"L", size=b"%011o\0" % 2**30) + bytes(2048),
    "a PAX header of a gigabyte": header(kind=b"x", size=b"%011o\0" % 2**30) + bytes(2048),
    "a sparse map without end": header(kind=b"S") + b"\1" * 2048,
    "gzip": b"\x1f\x8b\x08" + bytes(600),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(600),
    "xz": b"\xfd7zXZ\0" + bytes(600),
    "bzip2": b"BZh9" + bytes(600),
    "garbage behind a member": GOOD + b"\1" * 600,
    "a megabyte of zeros between shards": GOOD + bytes(1 << 20) + GOOD,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_sound_tar_ends_as_damage_that_says_why(name):
    members = members_of(HOSTILE[name])
    assert members[-1].kind == DAMAGED, members
    assert members[-1].detail
    assert [member.kind for member in members[:-1]].count(DAMAGED) == 0


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
    assert members[0].detail


def test_headers_of_a_type_that_nobody_knows_are_passed_over():
    members = members_of(header(kind=b"?") + body(b"abc") + GOOD + END)
    assert [member.kind for member in members] == ["unknown type", FILE]


@pytest.mark.parametrize("cut", range(0, 4608, 167))
def test_what_stands_before_a_cut_is_kept_and_the_cut_is_told(cut):
    each = 3 * 512  # a header, and 600 bytes in two blocks
    content = tar_bytes([(f"{n}.jpg", bytes([n]) * 600) for n in range(3)])[:cut]
    names = [member.name for member in members_of(content) if member.kind == FILE]
    assert names == [f"{n}.jpg" for n in range(3) if n * each + 512 <= cut]
    damaged = [member for member in members_of(content) if member.kind == DAMAGED]
    assert len(damaged) == (0 < cut % each < 512 + 600)


SOUND = tar_bytes([("folder/" + "n" * 120 + f"{n}.jpg", bytes(n * 300)) for n in range(4)])


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
