"""What a process needs to send rows of a job: plain data that can be handed to another process, without a secret."""

from dataclasses import dataclass
from pathlib import Path

from bulk_patch.client.share_file import Share
from bulk_patch.job.settings import Job, Retry
from bulk_patch.targets import Target, TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSpec:
    """How rows of a job are sent, whoever sends them.

    Secrets are references, read where they are used. (The token of a rehearsal has no reference: it stays with the
    process that started the rehearsal's API.)

    Attributes:
        target: What the target is made from again.
        job: Name of the job.
        base_url: Of the API.
        token: Reference of the token.
        proxy: URL of the proxy, without user and password; None: none.
        proxy_auth: Reference of the proxy's user and password; None: it asks for none.
        ca_file: PEM bundle of a private certificate authority.
        folder: Where references and relative paths count from.
        rate_per_s: Never exceeded by all who send together; None: unlimited.
        share: Of the rate with other processes of this host; None: it is this run's alone.
        concurrency: Requests under way at once.
        timeout_s: For a whole exchange.
        retry: Budget and delays.
        watch: Fields whose values an outcome reports.
    """

    target: TargetSpec
    job: str
    base_url: str
    token: str
    proxy: str | None
    proxy_auth: str | None
    ca_file: Path | None
    folder: Path
    rate_per_s: float | None
    share: Share | None
    concurrency: int
    timeout_s: float
    retry: Retry
    watch: tuple[str, ...]

    @classmethod
    def of(cls, job: Job, target: Target) -> "SendSpec":
        """Return how the rows of a job are sent."""
        rate = job.limits.kept_per_s
        shares = job.limits.share is not None and rate is not None
        return cls(
            target=dict(target.spec),
            job=job.name,
            base_url=job.target.base_url,
            token=job.target.token,
            proxy=job.target.proxy,
            proxy_auth=job.target.proxy_auth,
            ca_file=job.target.ca_file,
            folder=job.file.parent,
            rate_per_s=rate,
            share=Share(job.limits.share or "", job.limits.share_dir, rate or 0.0, job.name) if shares else None,
            concurrency=job.limits.concurrency,
            timeout_s=job.limits.timeout_s,
            retry=job.retry,
            watch=tuple(job.guards.watch),
        )
