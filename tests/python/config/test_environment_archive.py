"""Archives of Python environments: unpacked once, and never outside of their folder."""

import io
import os
import stat
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from fastserve.config.environment_archive import unpack_environment
from fastserve.errors import InvalidArgumentError


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, **fields: object):
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o755
    for key, value in fields.items():
        setattr(member, key, value)
    content = b"content" if kind == tarfile.REGTYPE else b""
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def pack(tmp_path):
    def make(*members: tuple[str, bytes, dict[str, object]], name: str = "env.tar.gz") -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as archive:
            for member, kind, fields in members:
                add(archive, member, kind, **fields)
        return path

    return make


def test_files_folders_and_inner_links_are_unpacked(pack, tmp_path):
    archive = pack(
        ("./bin/", tarfile.DIRTYPE, {}),
        ("./bin/python3.11", tarfile.REGTYPE, {}),
        ("./bin/python3", tarfile.SYMTYPE, {"linkname": "python3.11"}),
        ("lib/a", tarfile.REGTYPE, {}),
        ("./bin/python", tarfile.SYMTYPE, {"linkname": "./python3"}),
        ("lib64", tarfile.SYMTYPE, {"linkname": "lib"}),
        ("share/a", tarfile.SYMTYPE, {"linkname": "../lib64/../bin/python"}),
        ("lib/b", tarfile.LNKTYPE, {"linkname": "lib/a"}),
    )
    folder = unpack_environment(archive, tmp_path / "cache")
    assert (folder / "bin" / "python3").read_bytes() == b"content"
    assert (folder / "share" / "a").read_bytes() == b"content"
    assert os.access(folder / "bin" / "python3.11", os.X_OK)
    assert (folder / "lib64" / "b").read_bytes() == b"content"


def test_the_interpreter_of_a_virtual_environment_may_be_linked_to(pack, tmp_path):
    archive = pack(
        ("bin/python", tarfile.SYMTYPE, {"linkname": "python3"}),
        ("bin/python3", tarfile.SYMTYPE, {"linkname": "/usr/bin/python3"}),
    )
    folder = unpack_environment(archive, tmp_path / "cache")
    assert os.readlink(folder / "bin" / "python") == "python3"
    assert os.readlink(folder / "bin" / "python3") == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../escape", tarfile.REGTYPE, {})], "outside"),
        ([("/escape", tarfile.REGTYPE, {})], "outside"),
        ([("a/../../escape", tarfile.REGTYPE, {})], "outside"),
        ([("link", tarfile.SYMTYPE, {"linkname": "../.."})], "outside"),
        ([("link", tarfile.SYMTYPE, {"linkname": "/etc"})], "outside"),
        ([("link", tarfile.LNKTYPE, {"linkname": "../../file"})], "outside"),
        ([("link", tarfile.LNKTYPE, {"linkname": "/etc/passwd"})], "outside"),
        ([("pipe", tarfile.FIFOTYPE, {})], "neither a file"),
        ([("device", tarfile.CHRTYPE, {})], "neither a file"),
        (
            [
                ("bin/python3", tarfile.SYMTYPE, {"linkname": "/tmp/target"}),
                ("bin/python3", tarfile.REGTYPE, {}),
            ],
            "through a link",
        ),
        (
            [
                ("lib", tarfile.SYMTYPE, {"linkname": "other"}),
                ("./lib/file", tarfile.REGTYPE, {}),
            ],
            "through a link",
        ),
        (
            [
                ("bin/python3", tarfile.SYMTYPE, {"linkname": "/etc"}),
                ("copy", tarfile.LNKTYPE, {"linkname": "bin/python3/passwd"}),
            ],
            "outside",
        ),
        (
            [
                ("a/b/", tarfile.DIRTYPE, {}),
                ("a/b/up", tarfile.SYMTYPE, {"linkname": "../.."}),
                ("a/b/up/../escape", tarfile.REGTYPE, {}),
            ],
            "outside",
        ),
        (
            [
                ("a/b/up", tarfile.SYMTYPE, {"linkname": "../.."}),
                ("s", tarfile.SYMTYPE, {"linkname": "a/b/up/.."}),
            ],
            "links to a/b/up/.., outside",
        ),
        (
            [
                ("s", tarfile.SYMTYPE, {"linkname": "a/b/up/.."}),
                ("a/b/up", tarfile.SYMTYPE, {"linkname": "../.."}),
            ],
            "links to a/b/up/.., outside",
        ),
        (
            [
                ("file", tarfile.REGTYPE, {}),
                ("a/up", tarfile.SYMTYPE, {"linkname": ".."}),
                ("hard", tarfile.LNKTYPE, {"linkname": "a/up/../../file"}),
            ],
            "outside",
        ),
        (
            [
                ("bin/python3", tarfile.SYMTYPE, {"linkname": "/etc"}),
                ("s", tarfile.SYMTYPE, {"linkname": "bin/python3/passwd"}),
            ],
            "outside",
        ),
        ([("bin/pythonic", tarfile.SYMTYPE, {"linkname": "/etc"})], "outside"),
        ([("loop", tarfile.SYMTYPE, {"linkname": "loop"})], "outside"),
    ],
)
def test_nothing_leaves_the_folder(pack, tmp_path, members, reason):
    archive = pack(*members)
    cache = tmp_path / "deep" / "er" / "cache"
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InvalidArgumentError, match=reason):
        unpack_environment(archive, cache)
    assert list(cache.iterdir()) == []
    assert set(tmp_path.rglob("*")) - before == {
        cache,
        cache.parent,
        cache.parent.parent,
    }


def test_a_broken_archive_leaves_nothing(tmp_path, pack):
    archive = pack(("lib/a", tarfile.REGTYPE, {}))
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(InvalidArgumentError, match=r"cannot unpack the environment .*env\.tar\.gz"):
        unpack_environment(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def pack_noise(path: Path, compression: str) -> Path:
    """An archive of a file that does not compress."""
    with tarfile.open(path, f"w:{compression}") as members:
        member = tarfile.TarInfo("lib/a")
        member.size = 100_000
        members.addfile(member, io.BytesIO(os.urandom(member.size)))
    return path


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_an_archive_of_each_compression_is_unpacked(tmp_path, compression):
    archive = pack_noise(tmp_path / "env.tar", compression)
    assert (unpack_environment(archive, tmp_path / "cache") / "lib" / "a").exists()


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("place", ["middle", "checksum"])
def test_a_damaged_archive_is_refused(tmp_path, compression, place):
    archive = pack_noise(tmp_path / "env.tar", compression)
    data = bytearray(archive.read_bytes())
    checksum = -8 if compression == "gz" else -5
    data[checksum if place == "checksum" else len(data) // 2] ^= 0x10
    archive.write_bytes(data)
    with pytest.raises(InvalidArgumentError, match="cannot unpack the environment"):
        unpack_environment(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def zipped(path: Path, *members: tuple[str, int, bytes]) -> Path:
    """Members with their Unix modes; 0: made elsewhere."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def test_a_zip_is_unpacked(tmp_path):
    archive = zipped(
        tmp_path / "env.zip",
        ("bin/", stat.S_IFDIR | 0o755, b""),
        ("bin/python3.11", stat.S_IFREG | 0o755, b"content"),
        ("bin/python3", stat.S_IFLNK | 0o777, b"python3.11"),
        ("lib/deep/a", 0, b"other"),
    )
    folder = unpack_environment(archive, tmp_path / "cache")
    assert (folder / "bin" / "python3").read_bytes() == b"content"
    assert os.access(folder / "bin" / "python3.11", os.X_OK)
    assert (folder / "lib" / "deep" / "a").read_bytes() == b"other"
    assert not os.access(folder / "lib" / "deep" / "a", os.X_OK)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../escape", 0, b"x")], "outside"),
        ([("/escape", 0, b"x")], "outside"),
        ([("a", stat.S_IFLNK, b".."), ("a/escape", 0, b"x")], "through a link"),
        ([("a", stat.S_IFLNK, b".."), ("./a", 0, b"x")], "through a link"),
        ([("a", stat.S_IFLNK, b"/etc")], "outside of the folder"),
        ([("a", 0, b"x"), ("./a", stat.S_IFLNK, b"b")], "cannot unpack"),
        ([("a", stat.S_IFIFO, b"")], "neither a file"),
    ],
)
def test_nothing_of_a_zip_leaves_the_folder(tmp_path, members, reason):
    archive = zipped(tmp_path / "env.zip", *members)
    with pytest.raises(InvalidArgumentError, match=reason):
        unpack_environment(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not list(tmp_path.rglob("escape"))


def test_a_damaged_zip_is_refused(tmp_path):
    archive = zipped(tmp_path / "env.zip", ("a", 0, os.urandom(1000)))
    content = bytearray(archive.read_bytes())
    content[500] ^= 1
    archive.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="cannot unpack"):
        unpack_environment(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 unpacks it")
def test_a_zstandard_archive_is_refused_by_name(tmp_path):
    archive = tmp_path / "env.tar.zst"
    archive.write_bytes(b"\x28\xb5\x2f\xfd and more")
    with pytest.raises(InvalidArgumentError, match=r"zstandard.*pack it as \.tar\.gz"):
        unpack_environment(archive, tmp_path / "cache")


def test_an_archive_is_unpacked_once(pack, tmp_path):
    archive = pack(("lib/a", tarfile.REGTYPE, {}))
    folders = []
    threads = [
        threading.Thread(
            target=lambda: folders.append(unpack_environment(archive, tmp_path / "cache"))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (folder,) = set(folders)
    (folder / "mark").touch()
    assert (unpack_environment(archive, tmp_path / "cache") / "mark").exists()


def test_a_changed_archive_is_unpacked_anew(pack, tmp_path):
    first = unpack_environment(pack(("a", tarfile.REGTYPE, {})), tmp_path / "cache")
    archive = pack(("a", tarfile.REGTYPE, {}), ("b", tarfile.REGTYPE, {}))
    second = unpack_environment(archive, tmp_path / "cache")
    assert first != second
    assert (second / "b").exists()
