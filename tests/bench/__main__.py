"""Run all benchmarks: `python -m tests.bench [--short]`.

The short form is for CI: small enough to keep them from rotting; nothing is asserted on time.
"""

import subprocess
import sys
import time

#: Module -> what it is called with, in full and in short.
BENCHES: dict[str, tuple[list[str], list[str]]] = {
    "ledger": ([], ["2000"]),
    "plan": ([], ["--rows", "5000", "--runs", "1"]),
    "send": (["--all"], ["--rows", "1000", "--runs", "1"]),
    "rate": ([], ["--seconds", "1"]),
    "page": ([], ["--rows", "2000"]),
}


def main() -> None:
    """Run one after the other; the first that fails ends it."""
    is_short = "--short" in sys.argv[1:]
    for name, forms in BENCHES.items():
        begun = time.monotonic()
        print(f"=== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *forms[is_short]], check=True)
        print(f"=== {name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
