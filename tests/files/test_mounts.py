"""Which file system a path lies on."""

from pathlib import Path

import pytest

from bulk_patch.files.mounts import SHARED, file_system_of

TABLE = """\
22 1 252:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv/team rw,relatime shared:9 master:3 - nfs4 nas:/team rw,vers=4.2
31 30 0:41 / /srv/team/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/two\\040words rw - fuse.sshfs host:/ rw
33 22 0:43 / /mnt/hidden rw - nfs nas:/old rw
34 33 0:44 / /mnt/hidden rw - ext4 /dev/vdc rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/pat/output", "ext4"),
        ("/srv/team/jobs/output/moves", "nfs4"),
        ("/srv/teamwork", "ext4"),
        ("/srv/team/local/output", "xfs"),
        ("/mnt/two words/output", "fuse.sshfs"),
        ("/mnt/hidden/output", "ext4"),
    ],
)
def test_the_longest_and_latest_mount_point_counts(tmp_path: Path, path: str, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert file_system_of(Path(path), table=table) == kind


def test_where_there_is_no_table_nothing_is_known(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, table=tmp_path / "none") == ""


def test_network_file_systems_are_named() -> None:
    assert {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "fuse.sshfs",
        "ceph",
        "fuse.glusterfs",
        "glusterfs",
        "lustre",
    } <= SHARED
