"""Files for their owner alone, as a token has to be."""

from pathlib import Path


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that nobody else may read or write, whatever the umask."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
