"""Files from the net: begun anew where they broke off, and in their place only once they are whole and right."""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from fastconv._nearest import nearest
from fastconv.data._directory import PathLike, root_of
from fastconv.data.sources import SOURCES, RemoteFile
from fastconv.errors import ArgumentError, DataError

Progress = Callable[[str, int, int], None]
"""Is told a file's name, how many bytes of it are there, and how many it has."""

_PIECE = 2**18
_SECONDS = 30  # without a byte


def download(name: str, directory: PathLike | None = None, progress: Progress | None = None) -> Path:
    """Get the files of the data set `name` that are not there yet.

    What arrives is kept beside its place until it is whole and has the declared SHA-256, also over an interrupt: the
    next call goes on from there. Of an archive only the declared members are taken. What is there stays as it is.

    Parameters
    ----------
    name : str
        Of `SOURCES`, which holds addresses and checksums.
    directory : path or None
        The folder of data sets; `default_directory` by default.
    progress : function or None
        Called as bytes arrive, with a file's name, how many bytes of it are there, and how many it has.

    Returns
    -------
    Path
        `directory`, which the data set's reader takes.

    Raises
    ------
    ArgumentError
        There is no such data set, or it has no files.
    DataError
        The net, the server or the disk refuses, what came is not what is declared, or what is there is not.

    Examples
    --------
    >>> fc.data.download("cifar10", "data")  # doctest: +SKIP
    PosixPath('data')
    >>> fc.data.download("imagenet")
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: name: got 'imagenet'; allowed: shapes10, cifar10, cifar100, mnist, fashion-mnist
    """
    if not isinstance(name, str) or name not in SOURCES:
        raise ArgumentError(f"name: got {name!r}; allowed: {', '.join(SOURCES)}{nearest(name, SOURCES.keys())}")
    if SOURCES[name].is_drawn:
        raise ArgumentError(f"name: got {name!r}, which is drawn and needs no files; allowed: a data set with files")
    root = root_of(directory)
    for file in SOURCES[name].files:
        _obtain(file, root, progress or (lambda name, done, size: None))
    return root


def _obtain(file: RemoteFile, root: Path, progress: Progress) -> None:
    wanted = [place for place in file.places if not os.path.exists(root / place)]
    if not wanted:
        if not file.is_archive:
            _check(file, root / file.places[0], "move it away and run this again")
        progress(file.name, file.size, file.size)
        return
    part = root / f".{file.name}.part"
    with _on_disk(part):
        root.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as claimed:
            _lock(part, claimed)
            _fetch(file, part, progress)
            try:
                _check(file, part, "run this again to get it anew")
            except DataError:
                part.unlink()
                raise
            if file.is_archive:
                _unpack(part, wanted, root)
                part.unlink()
            else:
                target = root / file.places[0]
                target.parent.mkdir(parents=True, exist_ok=True)
                os.fsync(claimed.fileno())
                os.replace(part, target)


def _fetch(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Bring `part` to the size of the file."""
    done = part.stat().st_size
    if done == file.size:
        return
    with _in_net(file.url), _open(file.url, done) as response, part.open("r+b") as out:
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        done = done if response.status == 206 and begins else 0
        out.truncate(done)
        out.seek(done)
        while piece := response.read(_PIECE):
            done += len(piece)
            if done > file.size:
                out.truncate(0)
                raise DataError(f"{file.url}: got more than {file.size:,} bytes; allowed: as many; {part} was emptied")
            with _on_disk(part):
                out.write(piece)
            progress(file.name, done, file.size)
    if done < file.size:
        raise DataError(
            f"{file.url}: got {done:,} bytes, then the connection broke off; allowed: {file.size:,}; run this again to"
            " go on"
        )


def _open(url: str, begin: int) -> Any:
    """Return the answer of the server, asked for the bytes from `begin` on."""
    import urllib.request
    from urllib.error import HTTPError

    opener = urllib.request.build_opener()
    opener.addheaders = [("User-Agent", "fastconv")] + ([("Range", f"bytes={begin}-")] if begin else [])
    try:
        return opener.open(url, timeout=_SECONDS)
    except HTTPError as error:
        if begin and error.code == 416:  # the server's file ends before: it is not the one that was begun
            error.close()
            return _open(url, 0)
        raise


def _check(file: RemoteFile, path: Path, advice: str) -> None:
    import hashlib

    with _on_disk(path), path.open("rb") as data:
        got = hashlib.file_digest(data, "sha256").hexdigest()
    if got != file.sha256:
        raise DataError(f"{path}: got the SHA-256 {got}; allowed: {file.sha256}, of {file.url}; {advice}")


def _unpack(archive: Path, members: list[str], root: Path) -> None:
    """Write the members of these names, and nothing else, each all or nothing."""
    import tarfile

    try:
        with tarfile.open(archive, "r:gz") as packed:
            for name in members:
                member = packed.extractfile(name)
                if member is None:
                    raise DataError(f"{archive}: got no file for {name}; allowed: one")
                with member:
                    _place(member, root / name)
    except (KeyError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: got {error}; allowed: an archive with {', '.join(members)}") from error


def _place(data: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as out:
            while piece := data.read(_PIECE):
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _lock(part: Path, file: BinaryIO) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{part}: got a download that is still running; allowed: one at a time") from None


@contextmanager
def _in_net(url: str) -> Iterator[None]:
    """Turn what the net does into a DataError."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    try:
        yield
    except HTTPError as error:
        error.close()
        raise DataError(f"{url}: got {error.code} {error.reason}; allowed: the file") from error
    except URLError as error:
        raise DataError(f"{url}: got {error.reason}; allowed: a connection; run this again to go on") from error
    except (HTTPException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{url}: got {reason}; allowed: a connection; run this again to go on") from error


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """Turn what the disk does into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: got {error.strerror or error}; allowed: a folder with room for the file") from error
