"""Run the tiers: ``python -m tests.chaos --short`` for CI, ``--long`` before a release."""

import argparse
import importlib
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos.crew import Findings, Form
from tests.chaos.sightings import missing
from tests.chaos.stage import preload

#: Tier -> module that has `run(form) -> Findings`; in the order in which they are played.
TIERS = {
    "golden": "tests.chaos.golden",
    "simulation": "tests.chaos.simulation",
    "crash-points": "tests.chaos.crash_points",
    "faults": "tests.chaos.faults",
    "connections": "tests.chaos.connections",
    "pairs": "tests.chaos.pairs",
    "kills": "tests.chaos.kills",
    "restarts": "tests.chaos.restarts",
    "commands": "tests.chaos.commands",
    "storage": "tests.chaos.storage",
    "signals": "tests.chaos.signals",
    "input": "tests.chaos.inputs",
    "stateful": "tests.chaos.stateful",
    "mutants": "tests.chaos.mutants",
}
_SHOWN = 40


def main() -> int:
    """Play the tiers that were asked for, print one table, and return the exit code."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    size = words.add_mutually_exclusive_group(required=True)
    size.add_argument("--short", action="store_true", help="for CI: a sample of every tier")
    size.add_argument("--long", action="store_true", help="everything")
    words.add_argument("--tier", action="append", choices=list(TIERS), help="only this one; repeatable")
    words.add_argument("--seed", type=int, default=int(time.time()), help="of all draws; default: the time")
    words.add_argument("--trial", default="", help="only this trial, as a violation names it")
    words.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 2), help="trials at once")
    words.add_argument("--keep", type=Path, default=Path("chaos-evidence"), help="where evidence of violations goes")
    asked = words.parse_args()
    form = Form(long=asked.long, seed=asked.seed, workers=asked.workers, kept=asked.keep.absolute(), only=asked.trial)
    preload()
    sightings: Counter[str] = Counter()
    violations: list[str] = []
    print(f"{'tier':<12} {'trials':>8} {'violations':>11} {'seconds':>8}   seed {form.seed}", flush=True)
    for tier in asked.tier or TIERS:
        found: Findings = importlib.import_module(TIERS[tier]).run(form)
        line = f"{tier:<12} {found.trials:>8,} {len(found.violations):>11,} {found.seconds:>8.1f}   {found.remark}"
        print(line.rstrip(), flush=True)
        sightings += found.sightings
        violations += found.violations
    everything = asked.long and not asked.tier and not asked.trial
    rare = missing(sightings) if everything else []
    for line in [*violations[:_SHOWN], *(f"met too rarely: {name}" for name in rare)]:
        print(line)
    verdict = "0 violations" if not violations else f"{len(violations):,} VIOLATIONS"
    print(f"{verdict}{f', {len(rare)} things met too rarely' if rare else ''}")
    return 1 if violations or rare else 0


if __name__ == "__main__":
    sys.exit(main())
