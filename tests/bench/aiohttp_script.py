"""The script that users would write instead of `run`: gather and a semaphore. The peer of the send benchmark.

`python -m tests.bench.aiohttp_script URL ROWS.jsonl CONCURRENCY [tuned]`; prints requests/s and CPU µs per request.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from uuid import uuid4

import aiohttp
import uvloop


async def plain(url: str, rows: list[tuple[str, dict[str, str]]], concurrency: int) -> None:
    """Send as most people would."""
    limit = asyncio.Semaphore(concurrency)

    async def one(session: aiohttp.ClientSession, customer_id: str, body: dict[str, str]) -> None:
        headers = {"Authorization": "Bearer x", "Idempotency-Key": str(uuid4())}
        async with limit, session.patch(f"{url}/customers/{customer_id}", json=body, headers=headers) as answer:
            assert (await answer.json())["id"] == customer_id

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session, customer_id, body) for customer_id, body in rows))


async def tuned(url: str, rows: list[tuple[str, dict[str, str]]], concurrency: int) -> None:
    """Send as fast as aiohttp goes: workers, bytes bodies, default headers, no cookies, nothing checked."""
    work = iter([(f"{url}/customers/{customer_id}", json.dumps(body).encode()) for customer_id, body in rows])

    async def worker(session: aiohttp.ClientSession) -> None:
        for address, body in work:
            async with session.patch(address, data=body, headers={"Idempotency-Key": str(uuid4())}) as answer:
                await answer.read()

    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))


def main() -> None:
    """Send all rows and print the figures."""
    url, path, concurrency = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    rows = [(line["id"], line["body"]) for line in map(json.loads, path.read_text().splitlines())]
    is_tuned = "tuned" in sys.argv[4:]
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    if is_tuned:
        uvloop.run(tuned(url, rows, concurrency))
    else:
        asyncio.run(plain(url, rows, concurrency))
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    print(json.dumps({"requests_per_s": len(rows) / seconds, "cpu_us": 1e6 * cpu_s / len(rows)}))


if __name__ == "__main__":
    main()
