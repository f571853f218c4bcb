"""The script that users would write instead, with the libraries they would take. A peer of the comparison `peers`.

`python -m tests.bench.peers_script URL INPUT.csv`, in a folder where it keeps what it has done.
"""

import asyncio
import csv
import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import aiohttp
from aiolimiter import AsyncLimiter
from tenacity import RetryError, retry, stop_after_attempt, wait_random_exponential

KEPT, TOKEN = Path("done.csv"), {"Authorization": "Bearer x"}


async def main(url: str, path: str) -> None:
    """Send each row, at most 100 a second, sixteen at once, and note how it ended."""
    done = dict(line.split(",") for line in KEPT.read_text().split()) if KEPT.exists() else {}
    limiter, gate = AsyncLimiter(100, 1), asyncio.Semaphore(16)
    with open(path, newline="") as file, KEPT.open("a", buffering=1) as kept:
        async with aiohttp.ClientSession(headers=TOKEN) as session:

            @retry(stop=stop_after_attempt(8), wait=wait_random_exponential(max=60))
            async def send(number: int, row: dict[str, str]) -> int:
                key = {"Idempotency-Key": str(uuid5(NAMESPACE_URL, f"{path}/{number}"))}
                address = f"{url}/customers/{row['customer_id']}"
                body = {name: value for name, value in row.items() if name != "customer_id"}
                async with limiter, session.patch(address, json=body, headers=key) as answer:
                    if answer.status == 429 or answer.status >= 500:
                        answer.raise_for_status()
                    return answer.status

            async def one(number: int, row: dict[str, str]) -> None:
                async with gate:
                    try:
                        status = await send(number, row)
                    except RetryError:
                        status = 0
                    kept.write(f"{number},{'done' if status == 200 else 'failed'}\n")

            rows = enumerate(csv.DictReader(file), 1)
            await asyncio.gather(*(one(number, row) for number, row in rows if done.get(str(number)) != "done"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
