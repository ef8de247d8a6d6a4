"""Files that are being imported, and what is reported of them, in the data folder.

Each import has a folder of its own. What was sent lies there encrypted, since it is full of
numbers, until it is applied; the result names none and lies there in the clear.
"""

import contextlib
import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from registry import files
from registry.errors import Kind, RegistryError
from registry.numbers import NumberKey

PIECE = 256 * 1024
_BLOCK = 16


class Store:
    """The folder of all imports."""

    def __init__(self, folder: Path, key: NumberKey) -> None:
        self.folder = folder
        self._key = key

    def source(self, import_id: UUID) -> Path:
        """Return where the file of an import lies, as it was sent but encrypted."""
        return self.folder / import_id.hex / "source"

    def result(self, import_id: UUID) -> Path:
        """Return where the result of an import lies."""
        return self.folder / import_id.hex / "result.csv"

    @contextlib.contextmanager
    def receiving(self, import_id: UUID) -> Iterator["Receiver"]:
        """Lend what appends to a file, to one at a time; raises `IN_PROGRESS` for a second."""
        path = self.source(import_id)
        files.make_folder(self.folder)
        files.make_folder(path.parent)
        with io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RegistryError(
                    Kind.IN_PROGRESS, "a piece of this file is being received", retry_after=1
                ) from None
            files.sync(path.parent)
            yield Receiver(file, lambda offset: self._cipher(import_id, offset))

    def read(self, import_id: UUID, size: int) -> io.BufferedReader:
        """Open the file of an import as it was sent, which was `size` bytes."""
        file = io.FileIO(self.source(import_id))
        raw = _Decrypted(file, size, lambda offset: self._cipher(import_id, offset))
        return io.BufferedReader(raw, PIECE)

    def open_result(self, import_id: UUID, size: int) -> io.FileIO:
        """Open a result to be continued at its size: what lies beyond was not committed.

        That is cut off by whoever writes, under the import's lock, and by nobody who only opens.
        """
        path = self.result(import_id)
        files.make_folder(self.folder)
        files.make_folder(path.parent)
        file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        if file.seek(0, os.SEEK_END) < size:
            file.close()
            raise RegistryError(Kind.UNAVAILABLE, "the result of this import is not all there")
        file.seek(size)
        files.sync(path.parent)
        return file

    def read_result(self, import_id: UUID, size: int) -> Iterator[bytes]:
        """Open a result and return its first `size` bytes, piece by piece."""
        try:
            file = self.result(import_id).open("rb")
        except FileNotFoundError:
            raise RegistryError(Kind.NOT_FOUND, "the result is kept no longer") from None
        return _pieces(file, size)

    def remove_source(self, import_id: UUID) -> None:
        """Remove the file of an import; its result stays."""
        self.source(import_id).unlink(missing_ok=True)

    def remove(self, import_id: UUID) -> None:
        """Remove all that is kept of an import; raises when something cannot be removed."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder / import_id.hex)

    def _cipher(self, import_id: UUID, offset: int) -> CipherContext:
        """Return what encrypts a file from a byte on, and decrypts it: AES in counter mode.

        Each import has a key of its own, so the counter of each may begin with nothing.
        """
        key = self._key.derive(b"import " + import_id.bytes)
        block, within = divmod(offset, _BLOCK)
        counter = modes.CTR(block.to_bytes(_BLOCK))
        cipher = Cipher(algorithms.AES(key), counter).encryptor()
        cipher.update(bytes(within))
        return cipher


class Receiver:
    """Appends to the file of one import."""

    def __init__(self, file: io.FileIO, cipher: Callable[[int], CipherContext]) -> None:
        self._file = file
        self._cipher = cipher
        self.durable = 0
        """How many bytes a power failure would leave."""

    def append(self, offset: int, pieces: Iterable[bytes]) -> int:
        """Write from a byte on, in the place of what lay beyond, and return the new size.

        It is durable then. When `pieces` ends with an error, so are those that came before.
        """
        self.durable = offset  # What was acknowledged stays so, whatever fails here.
        self._file.truncate(offset)
        self._file.seek(offset)
        cipher = self._cipher(offset)
        try:
            for piece in pieces:
                _write(self._file, cipher.update(piece))
        finally:
            os.fsync(self._file.fileno())
            self.durable = self._file.tell()
        return self.durable


class _Decrypted(io.RawIOBase):
    """Reads so many bytes of an encrypted file."""

    def __init__(self, file: io.FileIO, size: int, cipher: Callable[[int], CipherContext]) -> None:
        self._file, self._size = file, size
        self._cipher_at = cipher
        self._cipher = cipher(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = self._file.seek(offset, whence)
        if (offset, whence) != (0, os.SEEK_CUR):
            self._cipher = self._cipher_at(position)
        return position

    def readinto(self, buffer: Any) -> int:
        most = max(0, self._size - self._file.tell())
        read = self._file.read(min(len(buffer), most))
        buffer[: len(read)] = self._cipher.update(read)
        return len(read)

    def close(self) -> None:
        self._file.close()
        super().close()


def write_durably(file: io.FileIO, data: bytes) -> None:
    """Append to a result, so that a power failure does not take it back."""
    _write(file, data)
    os.fsync(file.fileno())


def _write(file: io.FileIO, data: bytes) -> None:
    """Write all of it: a single call may write less when the disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    with file:
        while size > 0 and (piece := file.read(min(PIECE, size))):
            size -= len(piece)
            yield piece
