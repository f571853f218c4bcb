"""`--sandbox`: run the built-in sandbox during a command."""

import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bulk_patch.cli.printing import say
from bulk_patch.errors import LockedError, UsageError
from bulk_patch.files.atomic import check_reachable, make_private_folder
from bulk_patch.job.settings import Job
from bulk_patch.sandbox import SandboxError, SandboxSettings, child
from bulk_patch.sandbox.world import TAKEN
from bulk_patch.words import duration_words

_PATIENCE_S = 1.0  # a start that takes longer is explained


@contextmanager
def at_sandbox(job: Job, output: Path, *, quiet: bool = False) -> Iterator[Job]:
    """Yield the job aimed at a local API that lives as long as the block, and no longer than this process.

    Its data and its log `requests.jsonl` are kept in `output/<job>/sandbox/`, so that a killed run resumes against the
    same customers and keys; delete the folder to reset it.

    Args:
        job: The job; `[sandbox] customers` seeds the world, once.
        output: The `output/` folder.
        quiet: Do not say that customers are loaded, which takes a while the first time.

    Raises:
        UsageError: The sandbox does not start.
        LockedError: Another rehearsal of this job is going on.
    """
    check_reachable(output / job.name)
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
            with _patience(job, quiet=quiet):
                base_url = stack.enter_context(child(settings))
        except SandboxError as error:
            if TAKEN in str(error):
                hint = "one rehearsal of a job at a time: run the same command again when the other one has ended"
                raise LockedError(f"the sandbox: {error}", hint) from None
            raise UsageError(f"the sandbox: {error}", f"check [sandbox] customers; {reset}") from None
        yield job.at_sandbox(base_url, token)


@contextmanager
def _patience(job: Job, *, quiet: bool) -> Iterator[None]:
    """Say what a start that takes long is doing, and when it is over."""
    source = job.sandbox.customers.name if job.sandbox.customers is not None else "the last rehearsal"
    begun = time.monotonic()
    words = f"sandbox: loading the customers of {source}"
    telling = threading.Timer(_PATIENCE_S, say, [words], {"stream": sys.stderr})
    telling.daemon = True
    if not quiet:
        telling.start()
    try:
        yield
    finally:
        telling.cancel()
    if not quiet and time.monotonic() - begun > _PATIENCE_S:
        say(f"sandbox: ready after {duration_words(time.monotonic() - begun)}", stream=sys.stderr)
