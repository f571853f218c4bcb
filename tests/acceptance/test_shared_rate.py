"""Jobs of one host that share a rate, and jobs that use one token without sharing."""

import json
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, new_emails, patches, people, write_job


@pytest.mark.chaos
def test_who_shares_is_told_and_another_rate_is_refused_and_a_token_without_a_share_is_told(
    tmp_path: Path, office: Workspace
) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    neighbour = tmp_path / "neighbour"
    neighbour.mkdir()
    workspace = Workspace(neighbour, token=TOKEN)
    share = ("--set", "limits.share=api", "--set", f"limits.share_dir={folder}", "--set", "guards.canary=0")
    with Sandbox(people(40), token=TOKEN, latency_ms=20) as api:
        write_job(office, new_emails(*range(1, 30)))
        write_job(workspace, new_emails(*range(30, 33)))
        slow = office.start("run", FILE, *aimed_at(api), *share, "--set", "limits.rate_per_s=4")
        wait_until(lambda: len(patches(api)) >= 2)

        refused = workspace.run("run", FILE, *aimed_at(api), *share, "--set", "limits.rate_per_s=8")
        assert refused.code == 2, refused.err
        assert f"job {NAME!r}" in refused.err
        assert "4 requests a second" in " ".join(refused.err.split())

        alone = workspace.run("run", FILE, *aimed_at(api), "--set", "limits.rate_per_s=4", "--limit", "1")
        assert alone.code == 4, alone.err
        assert "token_in_use" in alone.err

        other = workspace.start("run", FILE, *aimed_at(api), *share, "--set", "limits.rate_per_s=4")
        path = folder / "api.share"
        wait_until(lambda: len(json.loads(path.read_bytes())["members"]) == 2)
        status = office.run("status", FILE)
        assert f"shares the rate 'api' with {NAME} (process {other.pid})" in status.out
        document = json.loads(office.run("status", FILE, "--json").out)
        assert document["shares_rate_with"] == [{"job": NAME, "pid": other.pid}]
        for process in (slow, other):
            _, said = process.communicate()
            assert process.returncode == 0, said
            assert "token_in_use" not in str(said)
    assert json.loads(path.read_bytes())["members"] == {}
