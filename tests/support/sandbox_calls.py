"""Calls to a sandbox over real HTTP, for the tests of the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bulk_patch.sandbox import Sandbox

ANN = "7d943c51-e4ff-4e57-9558-08cab6b963c7"
BEN = "0c51a3d2-93e4-4f6b-8a57-b2d1f0e6c9a8"
NOBODY = "ffffffff-0000-4000-8000-000000000000"
HOME = {
    "address_line_1": "1 Main St",
    "city": "Austin",
    "state": "TX",
    "postal_code": "78701",
    "country_code": "US",
}
WORK = {**HOME, "address_line_1": "9 Side St", "postal_code": "78702-0001"}


def people() -> list[dict[str, Any]]:
    """Return two customers: Ann with everything, Ben with little."""
    return [
        {
            "id": ANN,
            "first_name": "Ann",
            "middle_name": "Q",
            "last_name": "Lee",
            "email": "ann@example.com",
            "phone_number": "+12065550100",
            "dob": "1980-02-29",
            "ssn": "773-11-1234",
            "status": "ACTIVE",
            "legal_address": dict(HOME),
            "metadata": {"tier": "gold"},
        },
        {"id": BEN, "first_name": "Ben", "status": "PROSPECT"},
    ]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Caller:
    """Speaks to one sandbox."""

    session: aiohttp.ClientSession
    base_url: str
    token: str

    async def call(
        self, method: str, path: str, *, body: Any = None, key: str | None = None, **headers: str | None
    ) -> Heard:
        """Send one request: bytes as they are, anything else as JSON, without headers that are None."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        wanted: dict[str, str | None] = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": None if data is None else "application/json",
            "Idempotency-Key": key,
            **headers,
        }
        sent = {name: value for name, value in wanted.items() if value is not None}
        async with self.session.request(
            method, self.base_url + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            content_type = response.headers.get("Content-Type", "")
            return Heard(response.status, await response.read(), content_type, dict(response.headers))

    async def patch(self, body: Any, *, of: str = ANN, key: str | None = None, **headers: str | None) -> Heard:
        """PATCH a customer."""
        return await self.call("PATCH", f"/customers/{of}", body=body, key=key, **headers)

    async def get(self, path: str = f"/customers/{ANN}") -> Heard:
        """GET a path."""
        return await self.call("GET", path)


@asynccontextmanager
async def calling(base_url: str, token: str = "sandbox-token") -> AsyncIterator[Caller]:
    """Open a session; requests are never repeated behind the caller's back."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Caller(session, base_url, token)


def rehearse(scenario: Callable[[Sandbox, Caller], Awaitable[None]], /, **options: Any) -> None:
    """Run a scenario against a sandbox of Ann and Ben."""

    async def run() -> None:
        async with (
            Sandbox(people(), **options) as sandbox,
            calling(sandbox.base_url, sandbox.token) as caller,
        ):
            await scenario(sandbox, caller)

    asyncio.run(run())
