"""`--sandbox`: run the built-in sandbox during a command."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bulk_patch.errors import LockedError, UsageError
from bulk_patch.files.atomic import make_private_folder
from bulk_patch.job.settings import Job
from bulk_patch.sandbox import SandboxError, SandboxSettings, child
from bulk_patch.sandbox.world import TAKEN


@contextmanager
def at_sandbox(job: Job, output: Path) -> Iterator[Job]:
    """Yield the job aimed at a local API that lives as long as the block, and no longer than this process.

    Its data and its log `requests.jsonl` are kept in `output/<job>/sandbox/`, so that a killed run resumes against the
    same customers and keys; delete the folder to reset it.

    Args:
        job: The job; `[sandbox] customers` seeds the world, once.
        output: The `output/` folder.

    Raises:
        UsageError: The sandbox does not start.
        LockedError: Another rehearsal of this job is going on.
    """
    world = output / job.name / "sandbox"
    if job.sandbox.customers is None and not world.exists():
        hint = "name a CSV or Parquet file of customers under [sandbox], the input's ids among them"
        raise UsageError("--sandbox has no customers to start with", hint)
    make_private_folder(world)
    reset = f"delete {world} to reset it"
    token = secrets.token_hex(16)
    settings = SandboxSettings(customers=job.sandbox.customers, log=world / "requests.jsonl", token=token, state=world)
    with ExitStack() as stack:
        try:
            base_url = stack.enter_context(child(settings))
        except SandboxError as error:
            if TAKEN in str(error):
                hint = "one rehearsal of a job at a time: run the same command again when the other one has ended"
                raise LockedError(f"the sandbox: {error}", hint) from None
            raise UsageError(f"the sandbox: {error}", f"check [sandbox] customers; {reset}") from None
        yield job.at_sandbox(base_url, token)
