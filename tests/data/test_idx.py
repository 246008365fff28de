"""IDX files: every type, plain and compressed, and what happens to files that are not what they should be."""

import gzip

import numpy as np
import pytest

from fastconv.data import read_idx
from fastconv.errors import DataError

from .files import CODES, idx


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("kind", CODES)
def test_read_idx_reads_every_type(tmp_path, rng, kind, pack):
    array = rng.integers(-100, 100, (5, 2, 3)).astype(kind)
    (tmp_path / "x").write_bytes(pack(idx(array)))
    read = read_idx(tmp_path / "x")
    assert read.dtype == np.dtype(kind)
    assert read.flags.carray
    np.testing.assert_array_equal(read, array)


def test_read_idx_reads_what_is_written_by_hand(tmp_path):
    (tmp_path / "x").write_bytes(bytes.fromhex("00000b02 00000002 00000003 0001 0002 0003 ffff 0100 7fff"))
    assert read_idx(tmp_path / "x").tolist() == [[1, 2, 3], [-1, 256, 32767]]


WHOLE = idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "begins with 000008"),
        (b"PK\3\4" + WHOLE, "begins with 504b0304; allowed: an IDX file"),
        (b"\0\0\x07" + WHOLE[3:], "begins with 00000703"),
        (b"\0\0\x08\0", "begins with 00000800"),
        (WHOLE[:9], "a header that is cut off; allowed: the lengths of 3 axes"),
        (WHOLE[:-1], "got 59 bytes of numbers; allowed: 60"),
        (WHOLE + b"\0", "got more than 60 bytes of numbers"),
        (gzip.compress(WHOLE[:-1], mtime=0), "got 59 bytes of numbers; allowed: 60"),
        (PACKED[: len(PACKED) // 2], "a damaged gzip file"),
        (PACKED[:20] + bytes([PACKED[20] ^ 0xFF]) + PACKED[21:], "a damaged gzip file"),
        (PACKED[:-8] + bytes(8), "a damaged gzip file"),
        (PACKED[:3], "a damaged gzip file"),
        (b"\0\0\x08\x04" + b"\xff" * 16 + WHOLE, "allowed: 340,282,"),
        (
            b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"x",
            "got 65 axes of 1, 1, 1, 1, ...; allowed: as many and as long ones",
        ),
        (b"\0\0\x08\x04" + bytes(4) + b"\xff" * 12, "got 4 axes of 0, 4294967295, 4294967295, 4294967295; allowed"),
    ],
)
def test_read_idx_names_what_is_wrong(tmp_path, data, words):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: got ")
    assert words in str(caught.value)
    assert path.read_bytes() == data


def test_read_idx_names_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"nothing: got No such file or directory; allowed: "):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"got Is a directory; allowed: "):
        read_idx(tmp_path)
