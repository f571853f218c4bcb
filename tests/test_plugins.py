from pathlib import Path

import pytest

from bulk_patch import plugins
from bulk_patch.errors import Exit, JobError

PLUG_IN = """\
class Mirror:
    "A target that somebody else wrote."
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings a target, as pip would leave it."""
    facts = tmp_path / "mirror_target-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mirror-target\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[bulk_patch.targets]\nmirror = mirror_target:Mirror\n")
    (tmp_path / "mirror_target.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(("group", "kind"), plugins.BUILT_IN)
def test_everything_in_the_table_can_be_imported(group: str, kind: str) -> None:
    plug_in = plugins.find(group, kind)
    assert f"{plug_in.__module__}:{plug_in.__qualname__}" == plugins.BUILT_IN[group, kind]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("target", ["synctera"]),
        ("ledger", ["sqlite"]),
        ("engine", ["local"]),
        ("baseline", ["file", "last-run", "live", "none"]),
        ("flavour", []),
    ],
)
def test_kinds_are_listed_by_group(group: str, expected: list[str]) -> None:
    assert plugins.kinds(group) == expected


@pytest.mark.parametrize(("group", "kind"), sorted(plugins.PLANNED))
@pytest.mark.parametrize("ask", [plugins.check, plugins.find])
def test_a_kind_that_is_not_built_yet_is_refused_with_those_that_are(group: str, kind: str, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(JobError, match=f"{group}.kind: '{kind}' is not built yet") as caught:
        ask(group, kind)
    assert caught.value.exit_code is Exit.USAGE
    assert caught.value.hint == f"use one of: {', '.join(plugins.kinds(group))}"


def test_nothing_is_built_and_yet_to_be_built() -> None:
    assert plugins.PLANNED.isdisjoint(plugins.BUILT_IN)


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(JobError, match=r"engine\.kind: 'warp' is not known") as caught:
        plugins.find("engine", "warp")
    assert caught.value.hint == "use one of: local"


@pytest.mark.usefixtures("installed")
def test_an_installed_plug_in_is_found_beside_the_built_in_ones() -> None:
    assert plugins.kinds("target") == ["mirror", "synctera"]
    plugins.check("target", "mirror")
    assert plugins.find("target", "mirror").__name__ == "Mirror"


@pytest.mark.usefixtures("installed")
def test_an_installed_plug_in_is_of_its_group_only() -> None:
    assert plugins.kinds("engine") == ["local"]
    with pytest.raises(JobError, match="is not known"):
        plugins.check("engine", "mirror")
