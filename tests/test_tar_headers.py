"""Headers of tar archives as pure functions of bytes: numbers, checksums, names, pax records."""

from __future__ import annotations

import tarfile

import pytest

from streamwds.errors import HeaderError
from streamwds.tar.headers import BLOCK, ZERO_BLOCK, checksum_holds, number, padded, parse, pax_records, text
from tests.archives import checksum_fits, header, record, sealed

# ---- numbers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"0000644 ", 0o644),
        (b"000644 \0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0rest", 0o644),
        (b"000000000000", 0),
        (b"777777777777", 8**12 - 1),  # all twelve bytes are digits
        (bytes(12), 0),
        (b" " * 12, 0),
        (b"\x80" + bytes(10) + b"\x05", 5),
        (b"\x80" + bytes(3) + b"\xff" * 8, 2**64 - 1),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\x00", -256),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize("value", [0, 1, 8**11 - 1, 8**11, 2**40, 2**63, 2**87 - 1])
def test_sizes_are_read_as_stdlib_writes_them(value: int) -> None:
    info = tarfile.TarInfo("a")
    info.size = value
    assert number(info.tobuf(tarfile.GNU_FORMAT)[124:136]) == value


@pytest.mark.parametrize("field", [b"8", b"-1", b"+7", b"0x10", b"1_0", b"1 2", b"1\t2", b"7a7", b"\x7f", b"1\xc3"])
def test_what_is_no_number_is_an_error(field: bytes) -> None:
    with pytest.raises(HeaderError, match="number"):
        number(field.ljust(12))


def test_padding_is_to_whole_blocks() -> None:
    assert [padded(size) for size in (0, 1, 511, 512, 513, 2**63)] == [0, 512, 512, 512, 1024, 2**63]


# ---- checksums

PLAIN = header(b"a/0001.jpg", 12345)
FOREIGN = header("ä/\u4e2d.jpg".encode(), 7)


@pytest.mark.parametrize("block", [PLAIN, FOREIGN])
def test_any_changed_bit_is_seen(block: bytes) -> None:
    assert checksum_holds(block)
    missed: list[int] = []
    for bit in range(8 * BLOCK):
        changed = bytearray(block)
        changed[bit // 8] ^= 1 << bit % 8
        if checksum_holds(bytes(changed)):
            missed.append(bit)
            assert checksum_fits(bytes(changed))
    assert {bit // 8 for bit in missed} <= set(range(148, 156))  # another way to write the same number


def test_signed_checksums_of_the_oldest_tars_hold() -> None:
    total = sum(byte - 256 if byte > 127 else byte for byte in FOREIGN[:148] + FOREIGN[156:]) + 8 * 32
    signed = FOREIGN[:148] + b"%06o\0 " % total + FOREIGN[156:]
    assert signed != FOREIGN
    assert checksum_holds(signed)


@pytest.mark.parametrize("other", [b"%07o\0", b"%06o  ", b"%7o ", b"%06o\0\xff", b"%o\0abcde"])
def test_checksums_are_numbers_however_written(other: bytes) -> None:
    total = sum(PLAIN[:148] + PLAIN[156:]) + 8 * 32
    assert checksum_holds(PLAIN[:148] + (other % total)[:8].ljust(8, b"\0") + PLAIN[156:])


@pytest.mark.parametrize(
    "block",
    [ZERO_BLOCK, b"", PLAIN[:511], PLAIN[:148] + b"no digit" + PLAIN[156:], PLAIN[:148] + b"\xff" * 8 + PLAIN[156:]],
)
def test_what_is_no_header_has_no_checksum(block: bytes) -> None:
    assert not checksum_holds(block)


# ---- what a header says


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (header(b"0001.jpg"), b"0001.jpg"),
        (header(b"a" * 100), b"a" * 100),
        (header(b"name", prefix=b"some/folder"), b"some/folder/name"),
        (header(b"n" * 100, prefix=b"p" * 155), b"p" * 155 + b"/" + b"n" * 100),
        (header(b"name\0garbage", prefix=b"folder\0garbage"), b"folder/name"),
        (header(b"name", magic=bytes(8), prefix=b"v7 has no prefix"), b"name"),
        (header(b"name", magic=b"ustar  \0", prefix=b"GNU has times there"), b"name"),
        (header(b"\xff\xfe.jpg"), b"\xff\xfe.jpg"),
        (header(b""), b""),
    ],
)
def test_names(block: bytes, name: bytes) -> None:
    assert parse(block).name == name


@pytest.mark.parametrize("kind", b"0\x007")
def test_files_of_each_kind_are_regular(kind: int) -> None:
    found = parse(header(b"a.jpg", 7, bytes([kind])))
    assert (found.regular, found.size) == (True, 7)


@pytest.mark.parametrize("kind", b"123456")
def test_links_devices_and_folders_have_no_data(kind: int) -> None:
    found = parse(header(b"a.jpg", 7, bytes([kind])))
    assert (found.regular, found.size) == (False, 0)


@pytest.mark.parametrize("kind", b"xgLKVMDANZ")
def test_other_kinds_have_data_and_are_no_files(kind: int) -> None:
    found = parse(header(b"a.jpg", 7, bytes([kind])))
    assert (found.regular, found.size) == (False, 7)


def test_a_name_that_ends_in_a_slash_is_a_folder() -> None:
    assert not parse(header(b"a.b/", 0, b"\0", magic=bytes(8))).regular


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (PLAIN[:-1] + b"x", "checksum"),
        (ZERO_BLOCK, "checksum"),
        (header(b"a.jpg", b"\xff" * 12), "size of -1 bytes"),
        (header(b"a.jpg", b"not a number"), "where a number should be"),
    ],
)
def test_headers_that_make_no_sense_are_errors(block: bytes, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        parse(block)


def test_names_survive_whatever_their_bytes() -> None:
    every = bytes(range(1, 256))
    assert text(every).encode("utf-8", "surrogateescape") == every
    assert text("é中".encode()) == "é中"


def test_a_sealed_header_is_one_that_stdlib_takes() -> None:
    assert tarfile.TarInfo.frombuf(sealed(PLAIN), "utf-8", "strict").size == 12345


# ---- pax records


@pytest.mark.parametrize("length", [0, 1, 2, 3, 89, 90, 91, 988, 989, 990, 991, 992, 9_984, 9_985, 9_986])
def test_pax_records_whose_length_gains_a_digit(length: int) -> None:
    value = b"v" * length
    assert pax_records(record(b"path", value)) == {b"path": value}


def test_pax_records_of_every_byte() -> None:
    value = bytes(range(256))
    found = pax_records(record(b"a", b"1=2") + record(b"path", value) + record(b"size", b"") + record(b"a", b"later"))
    assert found == {b"a": b"later", b"path": value, b"size": b""}


def test_pax_records_end_at_a_nul() -> None:
    assert pax_records(record(b"path", b"x") + bytes(20)) == {b"path": b"x"}
    assert pax_records(b"") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"11 path=a",  # shorter than it says
        b"12 path=ab\n",
        b"10 path=ab\n",  # longer than it says
        b"0 path=ab\n",
        b"3 path=ab\n",
        b"-11 path=ab\n",
        b"+11 path=ab\n",
        b" 11 path=ab\n",
        b"path=ab\n",
        b"11path=ab\n",
        b"9 pathab\n",
        b"\xd9\xa1\xd9\xa1 path=ab\n",  # digits, but not of ours
        b"9" * 5_000 + b" path=ab\n",
        record(b"path", b"x") + b"!",
    ],
)
def test_pax_records_that_make_no_sense_are_errors(data: bytes) -> None:
    with pytest.raises(HeaderError, match="pax record"):
        pax_records(data)
