"""Read a job file as TOML, and where it is none, say what it is."""

import re
import tomllib
from pathlib import Path
from typing import Any

from bulk_patch.errors import JobError

_LONGEST_BYTES = 1 << 20
_NO_TOML = {
    b"PK\x03\x04": "is a zip or Excel file",
    b"\x1f\x8b": "is compressed",
    b"PAR1": "is a Parquet file",
    b"SQLite format 3": "is a database",
    b"%PDF": "is a PDF",
    b"{": "is JSON",
    b"<": "is a web page or XML",
}
_WRITE_ONE = "name a job file (.toml), or write one: bulk-patch init"
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?")
_LINE = re.compile(r"at line (\d+)")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        JobError: With what the file is, or the line that is wrong; no text of the file is shown but names of keys.
    """
    file = Path(path)
    try:
        if not file.is_file() and file.exists():
            what = "a folder" if file.is_dir() else "a pipe or device"
            raise JobError(f"{path} is {what}, not a job file", _WRITE_ONE)
        with file.open("rb") as opened:
            data = opened.read(_LONGEST_BYTES + 1)
    except FileNotFoundError:
        raise JobError(f"no job file at {path}", "name an existing file, or write one: bulk-patch init") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise JobError(f"{path} cannot be read: {reason}", "check that it is a text file that you may read") from None
    text = _decode(data, path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _explain(text, str(error), file) from None


def _decode(data: bytes, path: str | Path) -> str:
    for start, what in _NO_TOML.items():
        if data.lstrip().startswith(start):
            raise JobError(f"{path} {what}, not a job file", _WRITE_ONE)
    if len(data) > _LONGEST_BYTES:
        raise JobError(f"{path} is longer than 1 MiB: is it a job file?", _WRITE_ONE)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:200]:
        raise JobError(f"{path} is UTF-16", "save it as UTF-8: a job file is plain text")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JobError(
            f"{path} is not UTF-8: line {line} holds a character of another encoding, such as Windows-1252 (Latin-1)",
            "save it as UTF-8",
        ) from None


def _explain(text: str, error: str, file: Path) -> JobError:
    lines = text.split("\n")
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    if file.suffix.lower() in (".csv", ".tsv") or not ("=" in first or first.lstrip().startswith("[")):
        what = "a table" if re.search(r"[,;\t|]", first) else "text"
        return JobError(f"{file} is {what}, not a job file: its first line is no setting and no [section]", _WRITE_ONE)
    if repeated := _find_repeated(lines):
        key, earlier, later = repeated
        return JobError(f"{file}: {key} stands twice, in lines {earlier} and {later}", "keep one of them")
    found = _LINE.search(error)
    key = ""
    if found and int(found[1]) <= len(lines) and (match := _KEY.match(lines[int(found[1]) - 1])):
        key = f", at {match[1]}"
    return JobError(
        f"{file} is not valid TOML: {error}{key}", "text needs quotes; a path with \\ needs 'single' quotes"
    )


def _find_repeated(lines: list[str]) -> tuple[str, int, int] | None:
    """Return a key or table that stands twice, and the two lines."""
    seen: dict[str, int] = {}
    table = ""
    for number, line in enumerate(lines, 1):
        if match := _TABLE.fullmatch(line):
            table = match[1].strip()
            name, said = table, f"[{table}]"
        elif match := _KEY.match(line):
            name = said = f"{table}.{match[1]}".lstrip(".")
        else:
            continue
        if name in seen:
            return said, seen[name], number
        seen[name] = number
    return None
