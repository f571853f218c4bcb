"""The bytes of a text file: hashed as they are read, unpacked, and turned into UTF-8."""

import codecs
import hashlib
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from bulk_patch.errors import InputError

Packing = Literal["gzip", "zstd"]

#: The first bytes of a packed file -> what pyarrow calls the way it is packed.
PACKED: dict[bytes, Packing] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

_CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 1 << 30  # a file that unpacks to more than this, and to so many times its size, is taken for an attack
_LARGE_GROWTH = 200


class Stream(Protocol):
    """UTF-8, read from the first byte to the last; `read` returns fewer bytes than asked for only at the end."""

    def read(self, size: int) -> bytes: ...
    def sha256(self) -> str: ...
    def close(self) -> None: ...


def packing_of(path: Path) -> Packing | None:
    """Return how a file is packed, None when it is not."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for magic, name in PACKED.items() if start.startswith(magic)), None)


@contextmanager
def opened(path: Path, *, packed: Packing | None = None, encoding: str = "utf-8") -> Iterator[Stream]:
    """Open a text file as UTF-8; what is UTF-8 already is handed on as it is, and is for the reader to check.

    Raises:
        InputError: When it cannot be unpacked or decoded.
    """
    file = HashedFile(path)
    stream: Stream = _Unpacked(file, path, packed) if packed else file
    if encoding != "utf-8":
        stream = _Decoded(stream, path, encoding)
    try:
        yield stream
    finally:
        stream.close()


@contextmanager
def opened_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read at any place; a packed one is unpacked into a temporary file first.

    Raises:
        InputError: When it cannot be unpacked.
    """
    packed = packing_of(path)
    if not packed:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as whole, opened(path, packed=packed) as stream:
        while more := stream.read(_CHUNK_BYTES):
            whole.write(more)
        whole.seek(0)
        yield whole


def buffered(stream: Stream) -> BinaryIO:
    """Return a stream as a file that is read line by line."""
    return io.BufferedReader(_Raw(stream), _CHUNK_BYTES)


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # what Python 3.11 cannot name: any writable buffer
        more = self._stream.read(len(buffer))
        buffer[: len(more)] = more
        return len(more)


class HashedFile:
    """A file as it is; its bytes are hashed in another thread while they are parsed.

    Args:
        path: A regular file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)
        self._hashing: Future[None] | None = None
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, and hash these very bytes, not another reading of the file."""
        more = self._file.read(size)
        self.bytes_read += len(more)
        self._wait()
        self._hashing = self._hasher.submit(self._digest.update, more)
        return more

    def sha256(self) -> str:
        """Return the hash of what was read."""
        self._wait()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._hasher.shutdown()
        self._file.close()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()


class _Unpacked:
    """A packed file, unpacked in bounded memory."""

    def __init__(self, packed: HashedFile, path: Path, how: Packing) -> None:
        import pyarrow as pa  # here: a file that is not packed does without

        self._packed = packed
        self._path = path
        self._errors = (pa.ArrowException, OSError)
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Readable(packed), mode="r"), how)
        self._bytes = 0

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            try:
                more: bytes = self._stream.read(size)
            except self._errors:
                raise InputError(
                    f"{self._path.name} is damaged or cut off: it cannot be unpacked", "pack it again, or unpack it"
                ) from None
            if not more:
                break
            pieces.append(more)
            size -= len(more)
            self._bytes += len(more)
            if self._bytes > _LARGE_BYTES and self._bytes > _LARGE_GROWTH * self._packed.bytes_read:
                raise InputError(
                    f"{self._path.name} unpacks to more than {_LARGE_GROWTH} times its size", "check it, and unpack it"
                )
        if size and self._packed.read(1):
            raise InputError(f"{self._path.name} has other bytes after its packed content", "pack it again")
        return b"".join(pieces)

    def sha256(self) -> str:
        return self._packed.sha256()

    def close(self) -> None:
        self._packed.close()


class _Readable(io.RawIOBase):
    """A hashed file as pyarrow wants files; it stays open when pyarrow closes this: what is left in it is looked at."""

    def __init__(self, file: HashedFile) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readable(self) -> bool:
        return True


class _Decoded:
    """A file in another encoding."""

    def __init__(self, stream: Stream, path: Path, encoding: str) -> None:
        self._stream = stream
        self._path = path
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = bytearray()
        self._lines = 1
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._ready) < size and not self._ended:
            more = self._stream.read(max(size, _CHUNK_BYTES))
            self._ended = not more
            try:
                text = self._decoder.decode(more, self._ended)
                self._ready += text.encode()
            except UnicodeError as error:
                raise self._refusal(more, error) from None
            self._lines += text.count("\n")
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def sha256(self) -> str:
        return self._stream.sha256()

    def close(self) -> None:
        self._stream.close()

    def _refusal(self, more: bytes, error: UnicodeError) -> InputError:
        start = getattr(error, "start", 0)
        before = codecs.getincrementaldecoder(self._encoding)("replace").decode(more[:start])
        return InputError(
            f"{self._path.name}: line {self._lines + before.count(chr(10))} is not {self._encoding}",
            "set input.encoding to what the file is written in, or export it again as UTF-8",
        )
