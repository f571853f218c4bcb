"""How well the rate is kept: `python -m tests.bench.rate [--seconds S] [--rates R ...]`.

Plans and sends one job a rate to the echoing server, and notes when each request's head is written, after connecting
and after every wait. Prints the share of the rate that was reached, and for each length of window the fullest one
beside what the promise allows: rate × (window + 0.01 s) + 1.
"""

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bulk_patch.client.connections
from bulk_patch import load_job, plan_job, run_job
from bulk_patch.client.connections import Connections
from bulk_patch.workflows.options import RunOptions
from tests.bench.figures import add_json_flag, write_figures
from tests.bench.send import JOB, fast_server

RATES_PER_S = (10, 100, 1_000, 3_000)
WINDOWS_S = (0.1, 1.0, 10.0)
CONCURRENCY = 64


class NotingConnections(Connections):
    """Connections that note when each request leaves, monotonic seconds."""

    sent_at: list[float] = []  # noqa: RUF012 - one for all: the job makes its connections itself

    def _head(self, *request: Any) -> bytes:
        self.sent_at.append(time.monotonic())  # it is written in the same breath
        return super()._head(*request)


def fullest(sent_at: Sequence[float], window_s: float) -> int:
    """Return how many sends the fullest window of this length holds.

    Args:
        sent_at: Monotonic seconds, ascending.
        window_s: Length of the window, both ends included.
    """
    most = first = 0
    for last, at in enumerate(sent_at):
        while at - sent_at[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def allowed(rate_per_s: int, window_s: float) -> int:
    """Return how many sends a window of this length may hold."""
    return int(rate_per_s * (window_s + 0.01) + 1)


def send_at(rate_per_s: int, seconds: float, url: str, folder: Path) -> list[float]:
    """Send for so long at this rate; return when each request left."""
    rows = max(2, round(rate_per_s * seconds))
    lines = [f"{uuid.uuid4()},user{row}@example.com,First{row}" for row in range(rows)]
    (folder / "input.csv").write_text("\n".join(["customer_id,email,first_name", *lines, ""]))
    text = JOB.format(url=url, concurrency=CONCURRENCY).replace('"unlimited"', str(rate_per_s))
    (folder / "job.toml").write_text(text)
    job, options = load_job(folder / "job.toml"), RunOptions(output=folder / f"output-{rate_per_s}")
    plan_job(job, options)
    NotingConnections.sent_at.clear()
    assert run_job(job, options).exit_code == 0
    return sorted(NotingConnections.sent_at)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES_PER_S)
    add_json_flag(parser)
    asked = parser.parse_args()
    os.environ["BENCH_TOKEN"] = "x"
    vars(bulk_patch.client.connections)["Connections"] = NotingConnections  # they are imported when one is chosen
    print(f"{asked.seconds:g} s at each rate; fullest windows, and what is allowed")
    print(f"  {'rate/s':>8} {'reached':>9}" + "".join(f"{f'{window_s:g} s':>18}" for window_s in WINDOWS_S))
    figures = {}
    for rate_per_s in asked.rates:
        with tempfile.TemporaryDirectory() as folder, fast_server() as url:
            sent_at = send_at(rate_per_s, asked.seconds, url, Path(folder))
        reached = (len(sent_at) - 1) / (sent_at[-1] - sent_at[0]) / rate_per_s
        windows = {window_s: (fullest(sent_at, window_s), allowed(rate_per_s, window_s)) for window_s in WINDOWS_S}
        cells = [
            f"{most:,} ≤ {limit:,}" if most <= limit else f"{most:,} > {limit:,} !" for most, limit in windows.values()
        ]
        figures[rate_per_s] = {"reached": reached, "fullest_and_allowed_by_window_s": windows}
        print(f"  {rate_per_s:8,} {reached:9.1%}" + "".join(f"{cell:>18}" for cell in cells))
    write_figures(asked.json, {"seconds": asked.seconds, "rates_per_s": figures})


if __name__ == "__main__":
    main()
