"""Unpacks the archive of a Python environment (conda-pack, venv-pack, tar or zip of a venv), once.

An archive is unpacked into a folder of the cache directory that is named after the file's content
identity, so that all models and all later starts share it. Nothing that an archive says can write
outside of that folder.
"""

import bz2
import gzip
import hashlib
import importlib
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fastserve.errors import InvalidArgumentError

# Names that a virtual environment links to the interpreter it was made with, outside of it.
_INTERPRETER = re.compile(r"bin/python[0-9.]*")
_MOST_LINKS = 40  # followed on one way, as by Linux
_READ_BYTES = 1 << 20
_COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ZIP = b"PK\x03\x04"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    RuntimeError,  # a zip that is encrypted, or compressed in a way that Python does not know
    ValueError,
    zlib.error,
    lzma.LZMAError,
)
_LOCK = threading.Lock()


def cache_directory() -> Path:
    """XDG_CACHE_HOME/fastserve/environments."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fastserve" / "environments"


def unpack_environment(archive: Path, cache: Path | None = None) -> Path:
    """The folder with the unpacked archive. Blocks; thread safe, and safe beside other servers.

    InvalidArgumentError, naming the member, for an archive that is broken or reaches outside.
    """
    parent = cache or cache_directory()
    folder = parent / _identity(archive)
    with _LOCK:
        if folder.is_dir():
            return folder
        try:
            parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=parent))
        except OSError as error:
            raise InvalidArgumentError(f"cannot unpack {archive} into {parent}: {error}") from None
        try:
            _unpack(archive, partial)
            _move(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _identity(archive: Path) -> str:
    try:
        status = archive.stat()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read the environment {archive}: {error}") from None
    text = f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _move(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another server was faster
            raise


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with archive.open("rb") as file:
            magic = file.read(6)
        if magic.startswith(_ZIP):
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, _opened(archive, magic), folder)
    except _BROKEN as error:
        raise InvalidArgumentError(f"cannot unpack the environment {archive}: {error}") from None


def _unpack_tar(archive: Path, content: IO[bytes], folder: Path) -> None:
    with content, tarfile.open(fileobj=content, mode="r:") as members:
        links: dict[str, str] = {}
        for member in members:
            _check_member(archive, member, links)
            _extract(members, member, folder)
        _check_links(archive, links)
        # Beyond the end that tar sees: a checksum may stand there.
        while content.read(_READ_BYTES):
            pass


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as members:
        links: dict[str, str] = {}
        for packed in members.infolist():
            member = _as_tar_member(members, packed)
            _check_member(archive, member, links)
            path = folder / posixpath.normpath(member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                path.mkdir(exist_ok=True)
            elif member.issym():
                path.symlink_to(member.linkname)
            else:
                with members.open(packed) as content, path.open("wb") as file:
                    shutil.copyfileobj(content, file, _READ_BYTES)
                path.chmod((member.mode & 0o755) | 0o600)
        _check_links(archive, links)


def _as_tar_member(members: zipfile.ZipFile, packed: zipfile.ZipInfo) -> tarfile.TarInfo:
    """For the same checks."""
    member = tarfile.TarInfo(packed.filename)
    mode = packed.external_attr >> 16  # of Unix; else 0
    member.mode = stat.S_IMODE(mode)
    if packed.is_dir():
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        member.type = tarfile.SYMTYPE
        member.linkname = os.fsdecode(members.read(packed))
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        member.type = tarfile.CHRTYPE
    return member


def _opened(archive: Path, magic: bytes) -> IO[bytes]:
    """What the archive's compression contains."""
    if magic.startswith(_ZSTANDARD):
        return _opened_zstandard(archive)
    for start, opener in _COMPRESSIONS.items():
        if magic.startswith(start):
            opened: IO[bytes] = opener(archive)
            return opened
    return archive.open("rb")


def _opened_zstandard(archive: Path) -> IO[bytes]:
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise InvalidArgumentError(
            f"the environment {archive} is compressed with zstandard, which the server can unpack "
            "from Python 3.14 on; pack it as .tar.gz"
        ) from None
    opened: IO[bytes] = zstd.ZstdFile(archive)
    return opened


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    member.uid = member.gid = os.getuid() if os.getuid() else 0
    member.uname = member.gname = ""
    member.mode = (member.mode & 0o755) | (0o700 if member.isdir() else 0o600)
    if hasattr(tarfile, "fully_trusted_filter"):  # the checks are ours
        members.extract(member, folder, filter="fully_trusted")
    else:
        members.extract(member, folder)


def _check_member(archive: Path, member: tarfile.TarInfo, links: dict[str, str]) -> None:
    """`links`: the symbolic links so far and their targets; nothing is written through one."""
    name = posixpath.normpath(member.name)
    reason = _refusal(member, name, links)
    if reason:
        raise _refused(archive, member.name, reason)
    if member.issym():
        links[name] = member.linkname


def _refused(archive: Path, name: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"the environment {archive}: its member '{name}' {reason}")


def _refusal(member: tarfile.TarInfo, name: str, links: dict[str, str]) -> str:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return "is neither a file, a folder nor a link"
    if _leaves(member.name):
        return "lies outside of the archive's folder, or might"
    if _passes(name, links):
        return "would be written through a link"
    target = member.linkname
    if member.islnk() and (_leaves(target) or _passes(posixpath.normpath(target), links)):
        return f"links to {target}, outside of the folder"
    return ""


def _leaves(path: str) -> bool:
    """By its text, which the system does not follow: `a/b/..` is not `a` if `a/b` is a link."""
    return path.startswith("/") or ".." in path.split("/")


def _passes(path: str, links: dict[str, str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[: count + 1]) in links for count in range(len(parts)))


def _check_links(archive: Path, links: dict[str, str]) -> None:
    """When all links are known: a target may lead through ones that come later."""
    for name, target in links.items():
        if not _stays_inside(name, links):
            raise _refused(archive, name, f"links to {target}, outside of the folder")


def _stays_inside(name: str, links: dict[str, str]) -> bool:
    """Follows `name` from link to link, as the system would."""
    done: list[str] = []
    ahead = name.split("/")[::-1]
    left = _MOST_LINKS
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not done:
                return False
            done.pop()
        elif part not in ("", "."):
            done.append(part)
            target = links.get("/".join(done))
            if target is None:
                continue
            if posixpath.isabs(target):
                # An interpreter may be where the way ends, but nothing lies behind it.
                return not ahead and _INTERPRETER.fullmatch("/".join(done)) is not None
            if left == 0:
                return False
            left -= 1
            done.pop()
            ahead.extend(target.split("/")[::-1])
    return True
