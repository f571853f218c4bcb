"""The files of an input: which ones there are, their size, time and hash, and that they stay the same."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulk_patch.errors import InputError

PARTITION = re.compile(r"([^=]+)=(.*)")  # a folder of Hive, Spark and DuckDB: column=value
_SPARK = re.compile(r"part-\d{5}-[0-9a-f-]{36}\b.*|\..*\.crc|_committed_\d+")
_REMOTE = re.compile(r"\b(https?|ftp|s3|gs|abfss?):/")


def fingerprint(path: Path) -> tuple[int, int]:
    """Return size (bytes) and newest modification time (ns): only if one differs is the file hashed again.

    Raises:
        InputError: When there is no such input.
    """
    with guarding(path):
        statuses = [part.stat() for part in list_parts(path)]
    return sum(status.st_size for status in statuses), max(status.st_mtime_ns for status in statuses)


def sha256_of(path: Path) -> str:
    """Hash an input as `Source.sha256` does.

    Raises:
        InputError: When it cannot be read.
    """
    with guarding(path):
        parts = list_parts(path)
        hashes = []
        for part in parts:
            with part.open("rb") as file:
                hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return combine(path, parts, hashes)


def list_parts(path: Path) -> list[Path]:
    """Return the regular files that make up an input, in reading order."""
    if not path.exists():
        where = "a path in the job file is relative to the job file, a path in --set to the current directory"
        raise InputError(f"there is no file {path}", "download it first" if _REMOTE.search(str(path)) else where)
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path} is a pipe or device", "write it to a file: it is read more than once")
        return [path]
    _refuse_tables(path)
    parts = list(_parts_in(path, path))
    if odd := [part.name for part in parts if not part.is_file()]:
        raise InputError(f"{path.name}: {odd[0]} is not a regular file", "remove it, or write it again")
    if not parts:
        raise InputError(f"there is no .parquet file in {path}", "a folder holds the parts of one Parquet file")
    return parts


def _parts_in(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the parts in a folder in the order of their names, those in folders of partitions included."""
    for part in sorted(part for part in folder.iterdir() if not part.name.startswith(".")):
        if not part.is_dir():
            if part.suffix.lower() == ".parquet":
                yield part
        elif PARTITION.fullmatch(part.name):
            yield from _parts_in(part, root)
        elif not part.name.startswith("_"):
            raise InputError(
                f"{root.name} holds a folder, {part.name}",
                "all parts must be in one folder, or in folders of partitions such as state=CA",
            )
        elif part.suffix.lower() == ".parquet":
            yield part  # which is refused


def _refuse_tables(folder: Path) -> None:
    """Refuse a folder of which another file says which parts belong to it, or that is not written to its end."""
    names = {entry.name for entry in folder.iterdir()}
    for mark, table in (("_delta_log", "a Delta table"), (".hoodie", "a Hudi table")):
        if mark in names:
            raise _is_table(folder, table, mark)
    if "metadata" in names and any(folder.glob("metadata/*.metadata.json")):
        raise _is_table(folder, "an Iceberg table", "metadata")
    unfinished = sorted(name for name in names if name == "_temporary" or name.startswith("_started_"))
    if "_temporary" in names or (unfinished and not any(name.startswith("_committed_") for name in names)):
        raise InputError(
            f"{folder.name} is not written to its end: there is {unfinished[0]} in it",
            "wait until the job that writes it has ended, or let it write again",
        )
    if "_SUCCESS" not in names and any(_SPARK.fullmatch(name) for name in names):
        raise InputError(
            f"{folder.name} was written by Spark, and there is no _SUCCESS in it: parts may be missing",
            f"let the job write it again; if you know that it is whole: touch {folder / '_SUCCESS'}",
        )


def _is_table(folder: Path, what: str, mark: str) -> InputError:
    return InputError(
        f"{folder.name} is {what} ({mark} is in it): some of its files may no longer belong to it",
        "read it with its own library, and write what it holds to one Parquet file",
    )


def combine(path: Path, parts: Sequence[Path], hashes: Sequence[str]) -> str:
    """Return the hash of an input from those of its parts."""
    if path not in parts:  # a folder
        lines = (f"{part.relative_to(path).as_posix()} {sha256}\n" for part, sha256 in zip(parts, hashes, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return hashes[0]


@contextmanager
def guarding(path: Path, stamp: tuple[int, int] | None = None) -> Iterator[None]:
    """Translate failures of the disk, and refuse a file whose fingerprint is another one."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {type(error).__name__}", "check that you may read it") from None
    except InputError:
        if stamp and fingerprint(path) != stamp:  # the reason for what looked wrong
            raise changed(path) from None
        raise
    if stamp and fingerprint(path) != stamp:
        raise changed(path)


def changed(path: Path) -> InputError:
    """Return the refusal of a file that is not the one that was scanned."""
    return InputError(f"{path.name} changed while it was read", "run the same command again when nothing writes to it")
