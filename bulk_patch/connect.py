"""From a job to a session with its API: credential, pace, wire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bulk_patch.credential import Credential
from bulk_patch.job.settings import Job
from bulk_patch.pace import Pace
from bulk_patch.read import Session
from bulk_patch.targets import Target
from bulk_patch.wire import Wire


@asynccontextmanager
async def connected(job: Job, target: Target) -> AsyncIterator[Session]:
    """Yield a session with the API of a job, or with the sandbox that it is aimed at; nothing is asked for yet.

    Raises:
        CredentialError: The token cannot be had.
    """
    if job.sandbox_token:
        credential = Credential.of_sandbox(job.sandbox_token)
    else:
        credential = Credential(job.target.token, job.file.parent)
    rate = job.limits.rate_per_s
    pace = Pace(None if isinstance(rate, str) else float(rate), longest_delay_s=job.retry.longest_delay_s)
    wire = Wire(
        job.target.base_url,
        credential=credential,
        pace=pace,
        timeout_s=job.limits.timeout_s,
        proxy=job.target.proxy,
        ca_file=job.target.ca_file,
    )
    async with wire:
        yield Session(target, wire, credential=credential, retry=job.retry, concurrency=job.limits.concurrency)
