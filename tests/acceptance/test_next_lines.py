"""The check of `next:` lines tells one command from anything else."""

from pathlib import Path

import pytest

from tests.acceptance.next_lines import missing_files, next_commands


def test_a_whole_command_is_accepted() -> None:
    line = "next: bulk-patch run 'my jobs/x.toml' --continue --sandbox --set 'name=it\\''s'"
    (command,) = next_commands("3 applied\n", line.replace("\\\\", "\\"))
    assert command[:3] == ["bulk-patch", "run", "my jobs/x.toml"]


@pytest.mark.parametrize(
    "line",
    [
        "next: first do that, then: bulk-patch run x.toml",
        "next: somebody else: bulk-patch approve R",
        "next: bulk-patch run x.toml && bulk-patch status",
        "next: bulk-patch run x.toml; ls",
        "next: bulk-patch approve R --operator",
        "next: bulk-patch show R --no-such-flag",
        "  next: bulk-patch status",
    ],
)
def test_anything_else_is_not(line: str) -> None:
    with pytest.raises(AssertionError):
        next_commands(line)


def test_files_that_a_command_names_have_to_exist(tmp_path: Path) -> None:
    (tmp_path / "x.toml").touch()
    assert missing_files(["bulk-patch", "run", "x.toml"], tmp_path) == []
    named = ["bulk-patch", "run", "y.toml", "--set", "input.path=z.csv", "--output", "out"]
    assert missing_files(named, tmp_path) == ["y.toml", "z.csv"]
