"""Files that people bring: kept by the digest of their content, sealed, in the data folder.

A file lies in `ab/<sha256>`, where `ab` begins its digest, encrypted under the number key: the
folder alone shows nobody what is in it. A file that was kept is durable before `keep` returns, and
one that cannot be read back whole is an error and never shown.
"""

import contextlib
import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO
from uuid import uuid4

from cryptography.exceptions import InvalidTag

from registry.errors import Kind, RegistryError
from registry.numbers import NumberKey

log = logging.getLogger(__name__)

PIECE = 64 * 1024
LONGEST_NAME = 120
_DIGEST = re.compile(r"[0-9a-f]{64}")

TEXT = "text/plain"
ENDINGS: dict[str, tuple[str, ...]] = {
    "application/pdf": (".pdf",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "audio/wav": (".wav",),
    "audio/mpeg": (".mp3",),
    "audio/mp4": (".m4a",),
    "audio/ogg": (".ogg", ".oga", ".opus"),
    TEXT: (".txt", ".log", ".md"),
}
"""The kinds of files that are taken, and how the names of such files end."""


@dataclass(frozen=True)
class Stored:
    """What a file is known by, and how many bytes it has."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Content:
    """The bytes of a file that was received whole."""

    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The digest that the file is kept by."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def media_type(self) -> str | None:
        """What the file is by its first bytes, whatever it is said to be; None for other kinds.

        HTML, SVG and everything else that is text is plain text and nothing more.
        """
        head = self.data[:16]
        if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
            return "audio/wav"
        if head[4:8] == b"ftyp":
            return "audio/mp4" if head[8:12] in _M4A_BRANDS else None
        if head.startswith(b"ID3") or _starts_mp3(head):
            return "audio/mpeg"
        for start, media_type in _STARTS.items():
            if head.startswith(start):
                return media_type
        return TEXT if _is_text(self.data) else None


_STARTS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"OggS": "audio/ogg",
}
_M4A_BRANDS = {b"M4A ", b"M4B ", b"mp41", b"mp42", b"isom", b"iso2"}
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


def _starts_mp3(head: bytes) -> bool:
    """Tell whether a frame of MPEG audio of layer III begins here."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def _is_text(data: bytes) -> bool:
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return not _CONTROLS.search(data.decode(encoding))
    return False


def receive(stream: IO[bytes], most: int) -> Content:
    """Read a file of 1 to `most` bytes; of a longer one no more than that is read."""
    pieces, size = [], 0
    while piece := stream.read(min(PIECE, most + 1 - size)):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise RegistryError(Kind.TOO_LARGE, f"a file has {most} bytes at most")
    if not size:
        raise RegistryError(Kind.INVALID, "the file is empty")
    return Content(b"".join(pieces))


def file_name(written: str | None, media_type: str) -> str:
    """Return a name under which a file may lie on anybody's disk.

    Folders, control characters and what turns the direction of writing are dropped, and the
    name ends as files of its kind do: nothing becomes a page or a program by its name.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", written or ""))[-1]
    kept = {mark: unicodedata.category(mark)[0] for mark in last}
    clean = "".join(" " if kept[mark] == "Z" else mark for mark in last if kept[mark] != "C")
    stem, endings = clean.strip(" ."), ENDINGS[media_type]
    ending = next((end for end in endings if stem.lower().endswith(end)), "")
    stem = stem[: len(stem) - len(ending)][:LONGEST_NAME].strip(" .")
    return (stem or "file") + (ending or endings[0])


class FileStore:
    """A folder of files by the digests of their contents; the same content is kept once."""

    def __init__(self, folder: Path, key: NumberKey) -> None:
        self.folder = folder
        self._key = key

    def put(self, stream: IO[bytes], most: int) -> Stored:
        """Receive a file of at most `most` bytes and keep it."""
        return self.keep(receive(stream, most))

    def keep(self, content: Content) -> Stored:
        """Keep a file, durably, and return what it is known by; raises when it cannot be.

        Whoever adds a row that names a file holds `database.lock_file` meanwhile, so that no
        purge takes the file between the two.
        """
        stored = Stored(content.sha256, len(content.data))
        try:
            if self._holds(content.sha256):
                os.utime(self._path(content.sha256))  # To a sweep it is as new as it seems.
            else:
                self._write(content)
        except OSError as error:
            log.error("a file could not be kept: %s", error.strerror)
            raise RegistryError(
                Kind.UNAVAILABLE, "the file could not be stored", retry_after=30
            ) from None
        return stored

    def read(self, sha256: str) -> bytes:
        """Return a file's content; `NOT_FOUND` when it is not here, an error when it is damaged."""
        try:
            return self._open(sha256)
        except FileNotFoundError:
            raise RegistryError(Kind.NOT_FOUND, "there is no such file") from None
        except OSError as error:
            log.error("file %s cannot be read: %s", sha256, error.strerror)
            raise RegistryError(
                Kind.UNAVAILABLE, "the file cannot be read", retry_after=30
            ) from None
        except ValueError:
            log.error("file %s is damaged", sha256)
            raise RegistryError(Kind.INTERNAL, "the stored file is damaged") from None

    def remove(self, sha256: str) -> None:
        """Remove a file, durably; one that is not here is gone already."""
        path = self._path(sha256)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync(path.parent)

    def strays(self, before: datetime) -> Iterator[tuple[str, list[str]]]:
        """Yield, folder by folder, the digests of the files that were last kept before a time.

        Whether anything names them is for the caller to find. What an interrupted `keep` left
        behind is removed on the way.
        """
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            old = [path for path in folder.iterdir() if _is_older(path, before)]
            for path in old:
                if path.name.startswith("."):
                    path.unlink(missing_ok=True)
            yield folder.name, [path.name for path in old if _DIGEST.fullmatch(path.name)]

    def _path(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise RegistryError(Kind.NOT_FOUND, "there is no such file")
        return self.folder / sha256[:2] / sha256

    def _open(self, sha256: str) -> bytes:
        """Return a content that its digest vouches for; raises `ValueError` for any other."""
        sealed = self._path(sha256).read_bytes()
        try:
            data = self._key.unseal(sealed)
        except InvalidTag:
            raise ValueError("not what was sealed") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("not the content of this digest")
        return data

    def _holds(self, sha256: str) -> bool:
        """Tell whether a file is here and whole; a damaged one is written anew."""
        try:
            self._open(sha256)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def _write(self, content: Content) -> None:
        path = self._path(content.sha256)
        make_folder(self.folder)
        make_folder(path.parent)
        temporary = path.parent / f".{uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._key.seal(content.data, os.urandom(12)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def _is_older(path: Path, before: datetime) -> bool:
    """Tell whether a file was last written before a time; one that is gone by now was not."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime < before.timestamp()
    return False


def make_folder(folder: Path) -> None:
    """Make a folder for the registry alone, and make sure that it stays."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Write a folder's list of files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
