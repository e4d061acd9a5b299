"""Unpacks the archive of a Python environment (conda-pack, venv-pack, or a tar of a venv), once.

An archive is unpacked into a folder of the cache directory that is named after the file's content
identity, so that all models and all later starts share it. Nothing that an archive says can write
outside of that folder.
"""

import hashlib
import os
import posixpath
import shutil
import tarfile
import tempfile
import threading
from pathlib import Path

from fastserve.errors import InvalidArgumentError

# Names that a virtual environment links to the interpreter it was made with, outside of it.
_INTERPRETERS = ("bin/python", "bin/python3")
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
        with tarfile.open(archive) as members:
            links: set[str] = set()
            for member in members:
                _check_member(archive, member, links)
                _extract(members, member, folder)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise InvalidArgumentError(f"cannot unpack the environment {archive}: {error}") from None


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    member.uid = member.gid = os.getuid() if os.getuid() else 0
    member.uname = member.gname = ""
    member.mode = (member.mode & 0o755) | (0o700 if member.isdir() else 0o600)
    if hasattr(tarfile, "fully_trusted_filter"):  # the checks are ours
        members.extract(member, folder, filter="fully_trusted")
    else:
        members.extract(member, folder)


def _check_member(archive: Path, member: tarfile.TarInfo, links: set[str]) -> None:
    """`links`: the symbolic links so far; nothing may be written through one."""
    name = posixpath.normpath(member.name)
    reason = _refusal(member, name, links)
    if reason:
        raise InvalidArgumentError(
            f"the environment {archive}: its member '{member.name}' {reason}"
        )
    if member.issym():
        links.add(name)


def _refusal(member: tarfile.TarInfo, name: str, links: set[str]) -> str:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return "is neither a file, a folder nor a link"
    if _leaves(name):
        return "lies outside of the archive's folder"
    if _passes(name, links):
        return "would be written through a link"
    if _links_outside(member, name, links):
        return f"links to {member.linkname}, outside of the folder"
    return ""


def _links_outside(member: tarfile.TarInfo, name: str, links: set[str]) -> bool:
    if member.issym():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        return _leaves(target) and not _is_interpreter(name, member.linkname)
    if member.islnk():
        target = posixpath.normpath(member.linkname)
        return _leaves(target) or _passes(target, links)
    return False


def _passes(path: str, links: set[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[: count + 1]) in links for count in range(len(parts)))


def _leaves(path: str) -> bool:
    return path == ".." or path.startswith(("/", "../"))


def _is_interpreter(name: str, target: str) -> bool:
    return name.startswith(_INTERPRETERS) and posixpath.isabs(target)
