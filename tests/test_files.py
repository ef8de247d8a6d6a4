"""Files by digest: kept once, sealed, durable, never shown damaged."""

import errno
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry import files
from registry.errors import Kind, RegistryError
from registry.files import Content, FileStore, file_name, receive
from registry.numbers import NumberKey

KEY = NumberKey(bytes(range(32)))
CANARY = b"Call me back on 13912345678, said the customer."
PDF = b"%PDF-1.7\n" + CANARY
MOST = 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    """Return an empty store, under an ordinary umask."""
    before = os.umask(0o022)
    yield FileStore(tmp_path / "files", KEY)
    os.umask(before)


def paths(store: FileStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_store_keeps_content_once_sealed_and_for_itself(store: FileStore) -> None:
    kept = store.put(io.BytesIO(CANARY), MOST)
    assert kept == store.put(io.BytesIO(CANARY), MOST)
    assert store.read(kept.sha256) == CANARY
    assert kept.size == len(CANARY)
    [path] = paths(store)
    assert path == store.folder / kept.sha256[:2] / kept.sha256
    assert CANARY[:10] not in path.read_bytes()
    assert [oct(one.stat().st_mode & 0o777) for one in (path, path.parent, store.folder)] == [
        "0o600", "0o700", "0o700",
    ]  # fmt: skip


def test_store_forgets_what_is_removed(store: FileStore) -> None:
    kept = store.put(io.BytesIO(CANARY), MOST)
    store.remove(kept.sha256)
    store.remove(kept.sha256)
    assert not paths(store)
    with pytest.raises(RegistryError) as caught:
        store.read(kept.sha256)
    assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("digest", ["../../keys/number.key", "", "A" * 64, "a" * 63])
def test_store_reads_nothing_beside_its_files(store: FileStore, digest: str) -> None:
    with pytest.raises(RegistryError) as caught:
        store.read(digest)
    assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_store_never_shows_a_damaged_file_and_takes_it_anew(
    store: FileStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store.put(io.BytesIO(CANARY), MOST)
    [path] = paths(store)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "flip": whole[:-1] + bytes([whole[-1] ^ 1]),
            "cut": whole[:-5],
            "empty": b"",
            "other": KEY.seal(b"another content", bytes(12)),
        }[damage]
    )
    with pytest.raises(RegistryError) as caught:
        store.read(kept.sha256)
    assert caught.value.kind is Kind.INTERNAL
    assert "damaged" in caplog.text
    store.put(io.BytesIO(CANARY), MOST)
    assert store.read(kept.sha256) == CANARY


def test_store_acknowledges_nothing_on_a_full_disk(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegistryError) as caught:
        store.put(io.BytesIO(CANARY), MOST)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert not paths(store)
    monkeypatch.setattr(os, "fsync", sync)
    assert store.read(store.put(io.BytesIO(CANARY), MOST).sha256) == CANARY


def test_store_sweeps_what_was_interrupted_and_offers_what_is_old(store: FileStore) -> None:
    kept = store.put(io.BytesIO(CANARY), MOST)
    half = store.folder / kept.sha256[:2] / ".half"
    half.write_bytes(b"")
    now = datetime.now(UTC)
    assert list(store.strays(now - timedelta(days=1))) == [(kept.sha256[:2], [])]
    assert half.exists()
    assert list(store.strays(now + timedelta(days=1))) == [(kept.sha256[:2], [kept.sha256])]
    assert not half.exists()


def test_receive_reads_no_more_than_the_limit() -> None:
    endless = io.BytesIO(bytes(10 * MOST))
    with pytest.raises(RegistryError) as caught:
        receive(endless, MOST)
    assert caught.value.kind is Kind.TOO_LARGE
    assert endless.tell() == MOST + 1
    assert len(receive(io.BytesIO(bytes(MOST)), MOST).data) == MOST
    with pytest.raises(RegistryError) as caught:
        receive(io.BytesIO(), MOST)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PDF, "application/pdf"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0..JFIF", "image/jpeg"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt ", "audio/wav"),
        (b"ID3\x04\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\x00\x00\x00\x20ftypM4A \x00", "audio/mp4"),
        (b"OggS\x00\x02", "audio/ogg"),
        ("我同意。".encode(), files.TEXT),
        ("我同意。".encode("gb18030"), files.TEXT),
        (b"<html><script>alert(1)</script>", files.TEXT),
        (b"<svg onload='alert(1)'/>", files.TEXT),
        (b"PK\x03\x04 an archive", None),
        (b"MZ\x90\x00 a program", None),
        (b"RIFF\x24\x08\x00\x00AVI LIST", None),
        (b"\x00\x00\x00\x20ftypqt  \x00", None),
        (b"text with a \x00 in it", None),
        (b"\xff\xff\xff\xff", None),
    ],
)
def test_content_is_what_its_first_bytes_say(data: bytes, media_type: str | None) -> None:
    assert Content(data).media_type == media_type


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("consent.txt", "consent.txt"),
        ("同意书 2026.TXT", "同意书 2026.txt"),
        ("../../etc/passwd", "passwd.txt"),
        (r"C:\Users\me\form.log", "form.log"),
        ("page.html", "page.html.txt"),
        ("evil\r\nSet-Cookie: a=b\x00.txt", "evilSet-Cookie: a=b.txt"),
        ("\u202etxt.exe", "txt.exe.txt"),
        ("=1+1.txt", "=1+1.txt"),
        ("...", "file.txt"),
        (None, "file.txt"),
        ("x" * 500 + ".txt", "x" * files.LONGEST_NAME + ".txt"),
    ],
)
def test_file_name_is_safe_on_any_disk(written: str | None, name: str) -> None:
    assert file_name(written, files.TEXT) == name
