import asyncio
from pathlib import Path

import pytest

from bulk_patch import BulkPatchError, plan_job, run_job
from bulk_patch.workflows.run import retry_run, undo_run
from bulk_patch.workflows.verify import verify_run
from tests.support.job_files import make_job


@pytest.mark.parametrize("call", [run_job, plan_job])
def test_a_call_inside_a_running_event_loop_is_refused_with_the_way_out(call: object, tmp_path: Path) -> None:
    job = make_job(tmp_path)

    async def caller() -> None:
        assert callable(call)
        call(job)

    with pytest.raises(BulkPatchError, match="running") as refused:
        asyncio.run(caller())
    assert "asyncio.to_thread" in refused.value.hint
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("call", [retry_run, undo_run, verify_run])
def test_so_is_a_call_about_one_run(call: object, tmp_path: Path) -> None:
    job = make_job(tmp_path)

    async def caller() -> None:
        assert callable(call)
        call(job, "20261122-120000-0001")

    with pytest.raises(BulkPatchError, match="running"):
        asyncio.run(caller())
