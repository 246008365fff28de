"""Downloads from a server that does what servers and nets do wrong; the real addresses are only read."""

import fcntl
import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest

from fastconv.data import SOURCES, cifar, cifar10, download, downloads, mnist
from fastconv.data.sources import RemoteFile, Source
from fastconv.errors import ArgumentError, DataError

from .files import idx
from .server import serving


@pytest.fixture
def served():
    with serving() as server:
        yield server


def remote(served, path, data, *places):
    """Serve `data`, and return what is declared of it."""
    served.files[path] = data
    return RemoteFile(served.url + path, len(data), hashlib.sha256(data).hexdigest(), places)


def declare(monkeypatch, name, read, *files):
    monkeypatch.setitem(SOURCES, name, Source(name, "", read, files))


DATA = np.random.default_rng(0).bytes(700_000)
PART = ".x.gz.part"


@pytest.fixture
def one_file(served, monkeypatch):
    declare(monkeypatch, "mine", None, remote(served, "/a/x.gz", DATA, "sets/x.gz"))
    return served


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_arrives_and_is_not_fetched_again(tmp_path, one_file):
    told = []
    root = download("mine", tmp_path / "new" / "root", lambda *what: told.append(what))
    assert root == tmp_path / "new" / "root"
    assert names(root) == ["sets/x.gz"]
    assert (root / "sets" / "x.gz").read_bytes() == DATA
    assert told == [("x.gz", done, 700_000) for done in (262_144, 524_288, 700_000)]
    download("mine", root)
    assert one_file.asked == [("/a/x.gz", None)]


def test_it_goes_on_where_it_broke_off(tmp_path, one_file):
    one_file.breaks[:] = [1, 300_000]
    for done in ("1", "300,001"):
        with pytest.raises(DataError, match=rf"x.gz: got {done} bytes, then .*; allowed: 700,000; run this again to"):
            download("mine", tmp_path)
        assert names(tmp_path) == [PART]
    download("mine", tmp_path)
    assert one_file.asked == [("/a/x.gz", None), ("/a/x.gz", "bytes=1-"), ("/a/x.gz", "bytes=300001-")]
    assert names(tmp_path) == ["sets/x.gz"]
    assert (tmp_path / "sets" / "x.gz").read_bytes() == DATA


def test_a_server_that_knows_no_ranges_sends_it_from_the_beginning(tmp_path, one_file):
    one_file.breaks[:] = [5000]
    one_file.ranges = False
    with pytest.raises(DataError):
        download("mine", tmp_path)
    download("mine", tmp_path)
    assert (tmp_path / "sets" / "x.gz").read_bytes() == DATA


def test_an_interrupt_keeps_what_came(tmp_path, one_file):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("mine", tmp_path, interrupt)
    assert (tmp_path / PART).read_bytes() == DATA[:262_144]
    download("mine", tmp_path)
    assert one_file.asked[1] == ("/a/x.gz", "bytes=262144-")
    assert (tmp_path / "sets" / "x.gz").read_bytes() == DATA


@pytest.mark.parametrize("begun", [b"", b"other bytes", DATA[:100] + b"x"])
def test_wrong_bytes_are_refused_and_thrown_away(tmp_path, one_file, begun):
    (tmp_path / PART).write_bytes(begun)
    one_file.files["/a/x.gz"] = DATA[:-1] + b"?" if not begun else DATA
    with pytest.raises(DataError, match=r"x.gz.part: got the SHA-256 \w{64}; allowed: \w{64}, of http.*/a/x.gz; run"):
        download("mine", tmp_path)
    assert names(tmp_path) == []
    one_file.files["/a/x.gz"] = DATA
    download("mine", tmp_path)


def test_a_longer_answer_is_cut_off(tmp_path, one_file):
    one_file.files["/a/x.gz"] = DATA * 3
    with pytest.raises(DataError, match=r"/a/x.gz: got more than 700,000 bytes; allowed: as many"):
        download("mine", tmp_path)
    assert (tmp_path / PART).stat().st_size == 0


def test_a_shorter_file_on_the_server_than_was_begun_is_asked_for_whole(tmp_path, one_file):
    (tmp_path / PART).write_bytes(DATA[:600_000])
    one_file.files["/a/x.gz"] = DATA[:500_000]
    with pytest.raises(DataError, match="got 500,000 bytes, then"):
        download("mine", tmp_path)
    assert one_file.asked == [("/a/x.gz", "bytes=600000-"), ("/a/x.gz", None)]


@pytest.mark.parametrize("status", [404, 500, 403])
def test_what_the_server_answers_is_told(tmp_path, one_file, status):
    one_file.status = status
    with pytest.raises(DataError, match=rf"/a/x.gz: got {status} .*; allowed: the file"):
        download("mine", tmp_path)


def test_no_server_is_told(tmp_path, monkeypatch):
    with serving() as gone:
        pass
    declare(monkeypatch, "mine", None, RemoteFile(f"{gone.url}/x.gz", 3, "", ("x.gz",)))
    with pytest.raises(DataError, match=r"/x.gz: got .*refused.*; allowed: a connection; run this again to go on"):
        download("mine", tmp_path)


def test_redirects_are_followed(tmp_path, one_file):
    one_file.files["/b"] = one_file.files.pop("/a/x.gz")
    one_file.redirect["/a/x.gz"] = "/b"
    one_file.breaks[:] = [10]
    with pytest.raises(DataError):
        download("mine", tmp_path)
    download("mine", tmp_path)
    assert one_file.asked[-1] == ("/b", "bytes=10-")


def test_a_file_that_is_there_is_checked_and_left_as_it_is(tmp_path, one_file):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "x.gz").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"sets/x.gz: got the SHA-256 .*; allowed: .*; move it away and run this again"):
        download("mine", tmp_path)
    assert (tmp_path / "sets" / "x.gz").read_bytes() == b"mine"
    assert one_file.asked == []


def test_two_downloads_of_one_file_do_not_meet(tmp_path, one_file):
    with (tmp_path / PART).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"x.gz.part: got a download that is still running; allowed: one at a time"):
            download("mine", tmp_path)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, one_file, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 300_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    real = downloads.Path.open
    monkeypatch.setattr(
        downloads.Path, "open", lambda self, mode: Full(self, "r+") if mode == "r+b" else real(self, mode)
    )
    with pytest.raises(DataError, match=r"x.gz.part: got No space left on device; allowed: a folder with room"):
        download("mine", tmp_path)
    monkeypatch.undo()
    assert (tmp_path / PART).read_bytes() == DATA[:524_288]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, one_file):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"got Not a directory; allowed: a folder with room|got File exists"):
        download("mine", tmp_path / "file")


def packed(members):
    """The bytes of a .tar.gz of files, links and so on: {name: bytes, or a TarInfo}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_of_an_archive_only_the_declared_members_are_taken(tmp_path, served, monkeypatch):
    members = {"set/a": b"A" * 5000, "../evil": b"evil", "/evil": b"evil", "set/other": b"other", "set/b": b"B"}
    file = remote(served, "/x.tar.gz", packed(members), "set/a", "set/b")
    declare(monkeypatch, "mine", None, file)
    download("mine", tmp_path / "root")
    assert names(tmp_path) == ["root/set/a", "root/set/b"]
    assert (tmp_path / "root" / "set" / "a").read_bytes() == members["set/a"]
    # What is there stays; what is missing is fetched.
    (tmp_path / "root" / "set" / "a").unlink()
    (tmp_path / "root" / "set" / "b").write_bytes(b"mine")
    download("mine", tmp_path / "root")
    assert (tmp_path / "root" / "set" / "a").read_bytes() == members["set/a"]
    assert (tmp_path / "root" / "set" / "b").read_bytes() == b"mine"


def a_link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def a_folder(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


@pytest.mark.parametrize(
    "data",
    [
        packed({"set/b": b"B"}),
        packed({"set/a": a_folder("set/a")}),
        packed({"set/a": a_link("set/a", "/etc/passwd")}),
        packed({"set/a": b"A" * 100_000})[:-60],
        b"no archive",
    ],
    ids=["missing", "folder", "link", "cut", "foreign"],
)
def test_an_archive_without_them_is_told(tmp_path, served, monkeypatch, data):
    declare(monkeypatch, "mine", None, remote(served, "/x.tar.gz", data, "set/a"))
    with pytest.raises(DataError, match=r"x.tar.gz.part: got .*; allowed: "):
        download("mine", tmp_path)
    assert "set/a" not in names(tmp_path)


def test_mnist_is_downloaded_and_read(tmp_path, served, monkeypatch, rng):
    files = []
    for declared in SOURCES["mnist"].files:
        count = 20 if "train" in declared.name else 10
        shape = (count, 28, 28) if "images" in declared.name else (count,)
        data = gzip.compress(idx(rng.integers(1, 10, shape, dtype=np.uint8)))
        files.append(remote(served, f"/{declared.name}", data, *declared.places))
    declare(monkeypatch, "mnist", SOURCES["mnist"].read, *files)
    download("mnist", tmp_path)
    assert (len(mnist(tmp_path)), len(mnist(tmp_path, "test"))) == (20, 10)
    assert len(SOURCES["mnist"].read(tmp_path, "test", 3)) == 3


def test_cifar10_is_downloaded_and_read(tmp_path, served, monkeypatch, rng):
    import pickle

    monkeypatch.setattr(cifar, "_IMAGES_PER_BATCH", 4)
    (declared,) = SOURCES["cifar10"].files
    batch = {b"data": rng.integers(1, 256, (4, 3072), dtype=np.uint8), b"labels": [1, 2, 3, 4]}
    data = packed({**dict.fromkeys(declared.places, pickle.dumps(batch, 2)), "cifar-10-batches-py/readme.html": b"x"})
    declare(monkeypatch, "cifar10", None, remote(served, "/cifar-10-python.tar.gz", data, *declared.places))
    download("cifar10", tmp_path)
    assert cifar10(tmp_path, "test").labels.tolist() == [1, 2, 3, 4]
    assert len(cifar10(tmp_path)) == 20


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(ArgumentError, match=r"name: got 'fashion_mnist'; allowed: shapes10, .* \(nearest: 'fashion-"):
        download("fashion_mnist")
    with pytest.raises(ArgumentError, match=r"name: got 'shapes10', which is drawn and needs no files"):
        download("shapes10")


def test_sources_are_declared_whole():
    for name, source in SOURCES.items():
        assert (source.name, source.is_drawn) == (name, name == "shapes10")
        for file in source.files:
            assert file.url.startswith("https://")
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size > 4000
            assert file.is_archive or len(file.places) == 1
            assert not any(place.startswith(("/", ".")) or ".." in place for place in file.places)
    addresses = [file.url for source in SOURCES.values() for file in source.files]
    assert len(set(addresses)) == len(addresses) == 10
