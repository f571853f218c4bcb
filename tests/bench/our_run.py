"""Send a planned job in this process and measure it: `python -m tests.bench.our_run JOB OUTPUT`.

Prints requests/s and CPU µs per request of sending alone (claims, keys, checks of answers and durable outcomes
included), and CPU µs per request of the whole run, reports included; imports are left out of both.
"""

import json
import sys
import time
from pathlib import Path

import bulk_patch.workflows.open_job  # noqa: F401 - pandas and aiohttp are imported before anything is measured
from bulk_patch import load_job, run_job
from bulk_patch.ledgers.records import Run
from bulk_patch.workflows.observer import NullObserver
from bulk_patch.workflows.options import RunOptions


class Meter(NullObserver):
    """A watcher that notes when sending begins and ends."""

    def sending(self, run: Run, rows: int) -> None:
        """Note the begin."""
        self.wall_s = -time.perf_counter()
        self.cpu_s = -time.process_time()

    def sent(self) -> None:
        """Note the end."""
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()


def main() -> None:
    """Run the job and print the figures."""
    job = load_job(Path(sys.argv[1]))
    meter = Meter()
    begun = time.process_time()
    summary = run_job(job, RunOptions(output=Path(sys.argv[2]), observer=meter))
    whole_s = time.process_time() - begun
    rows = summary.input_rows
    assert summary.exit_code == 0, summary
    figures = {
        "requests_per_s": rows / meter.wall_s,
        "cpu_us": 1e6 * meter.cpu_s / rows,
        "whole_cpu_us": 1e6 * whole_s / rows,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
