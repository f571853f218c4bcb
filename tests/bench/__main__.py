"""Run all benchmarks: `python -m tests.bench [--short] [--plots FOLDER]`.

With `--plots` their figures, as JSON, and the plots of them, as PNG, are put into a folder. The full form takes an hour
or two, 10 GB of disk and, for pandas.merge with 10,000,000 rows, most of 16 GB of memory. Each benchmark also runs by
itself (`python -m tests.bench.send --help`), and `python -m tests.bench.plots FOLDER` draws what is there. The short
form is for CI: small enough to keep them from rotting; nothing is asserted on time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Module -> what it is called with, in full and in short.
BENCHES: dict[str, tuple[list[str], list[str]]] = {
    "ledger": ([], ["--rows", "1000"]),
    "plan": (["--rows", "100000", "1000000", "10000000", "--runs", "5"], ["--rows", "1000", "--runs", "1"]),
    "send": (["--all"], ["--rows", "100", "--runs", "1", "--all"]),
    "peers": ([], ["--rows", "60", "--runs", "1"]),
    "rate": ([], ["--seconds", "0.5", "--rates", "100"]),
    "resume": (["--rows", "10000000"], ["--rows", "10000", "--runs", "1"]),
    "endurance": (["--rows", "1000000"], ["--rows", "2000"]),
    "commands": ([], ["--rows", "1000", "--customers", "1000", "--runs", "1"]),
    "whole": ([], ["--rows", "200", "--runs", "1", "--live", "200"]),
    "page": ([], ["--rows", "1000"]),
}


def main() -> None:
    """Run one after the other; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="tiny sizes, one run each")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write figures and plots there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.plots or Path(name)  # drawn in any case, so that drawing does not rot either
        for bench, forms in BENCHES.items():
            run_module(bench, *forms[asked.short], "--json", str(folder / f"{bench}.json"))
        run_module("plots", str(folder))


def run_module(name: str, *words: str) -> None:
    """Run one module of the benchmarks and say how long it took."""
    begun = time.monotonic()
    print(f"=== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *words], check=True)
    print(f"=== {name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
