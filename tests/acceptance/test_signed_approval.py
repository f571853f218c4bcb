"""approve --sign: where a login name is not enough, a signature by an allowed key is."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.approvals import PLANNER, REVIEWER, change_approval, plan_and_wait
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, aimed_at, patches


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Make a key for each of two people, and a file that allows only Alex."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    made = {}
    for name in ("alex", "kim"):
        made[name] = tmp_path / f"{name}_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made[name])], check=True)
    public = made["alex"].with_suffix(".pub").read_text(encoding="utf-8")
    (tmp_path / "allowed_signers").write_text(f"alex@example.com {public}", encoding="utf-8")
    return made


@pytest.fixture
def signed(office: Workspace, api: Sandbox, keys: dict[str, Path]) -> Workspace:
    """Return a place with a plan that waits for a signed approval."""
    plan_and_wait(office, api, 'allowed_signers = "../allowed_signers"', rows=1)
    return office


def test_only_a_valid_signature_counts_where_the_job_names_allowed_signers(
    signed: Workspace, api: Sandbox, keys: dict[str, Path]
) -> None:
    assert signed.run("approve", signed.runs(NAME)[-1]["id"], "--operator", "alex@example.com").code == 2
    another_key = signed.run(
        "approve", signed.runs(NAME)[-1]["id"], "--operator", "alex@example.com", "--sign", keys["kim"]
    )
    another_name = signed.run(
        "approve", signed.runs(NAME)[-1]["id"], "--operator", "kim@example.com", "--sign", keys["kim"]
    )
    assert (another_key.code, another_name.code) == (9, 9)
    assert signed.notes(NAME) == []
    ended = signed.run("approve", signed.runs(NAME)[-1]["id"], "--operator", "alex@example.com", "--sign", keys["alex"])
    assert ended.code == 0, ended.err
    assert "signed by alex@example.com" in ended.out
    assert signed.run("run", FILE, *aimed_at(api), *PLANNER).code == 0
    assert signed.summary(NAME)["approvals"][0]["signed_by"] == "alex@example.com"


def test_a_signature_is_checked_again_when_the_run_begins(
    signed: Workspace, api: Sandbox, keys: dict[str, Path]
) -> None:
    assert (
        signed.run(
            "approve", signed.runs(NAME)[-1]["id"], "--operator", "alex@example.com", "--sign", keys["alex"]
        ).code
        == 0
    )
    allowed = signed.root / "allowed_signers"
    text = allowed.read_text(encoding="utf-8")
    allowed.write_text(text.replace("alex@", "lee@"), encoding="utf-8")
    ended = signed.run("run", FILE, *aimed_at(api), *PLANNER)
    assert ended.code == 9
    assert "signature of alex@example.com does not count" in " ".join(ended.out.split())
    allowed.write_text(text, encoding="utf-8")
    change_approval(signed, {"signature": "", "signed_by": "alex@example.com"})
    assert signed.run("run", FILE, *aimed_at(api), *PLANNER).code == 9
    assert patches(api) == []


def test_a_signature_that_nobody_could_check_is_refused(office: Workspace, api: Sandbox, keys: dict[str, Path]) -> None:
    plan_and_wait(office, api, rows=1)
    ended = office.run("approve", office.runs(NAME)[-1]["id"], *REVIEWER, "--sign", keys["alex"])
    assert ended.code == 2
    assert "guards.allowed_signers" in ended.err
