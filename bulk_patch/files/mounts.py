"""Which file system a path lies on, by the mount table."""

import re
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")  # Linux; elsewhere nothing is known
_AFTER_OPTIONAL_FIELDS = " - "

#: File systems that other hosts may write to at the same time.
SHARED = frozenset(
    ("nfs nfs4 cifs smb3 smbfs 9p ceph fuse.ceph glusterfs fuse.glusterfs lustre fuse.sshfs afs beegfs gpfs").split()
)


def file_system_of(path: Path, *, table: Path = _TABLE) -> str:
    """Return the type of the file system that a path lies on, or will lie on; "" where that is not known.

    Args:
        path: It need not exist.
        table: The mount table, as `/proc/self/mountinfo` has it.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found, resolved = (Path("/"), ""), path.resolve()
    for line in lines:
        mount, _, source = line.partition(_AFTER_OPTIONAL_FIELDS)
        fields, kinds = mount.split(" "), source.split(" ")
        if len(fields) > 4 and kinds[0]:
            point = Path(_unescape(fields[4]))
            if resolved.is_relative_to(point) and len(point.parts) >= len(found[0].parts):  # the last one covers others
                found = point, kinds[0]
    return found[1]


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
