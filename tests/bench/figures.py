"""The figures of a benchmark as a file: what `--json FILE` writes, and what `tests/bench/plots.py` draws."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark its `--json FILE`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")


def write_figures(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures, and the machine that they are of.

    Args:
        path: What `--json` named; None: nothing is written.
        figures: By name, with their units in the names; JSON values.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": describe_machine(), **figures}, indent=1) + "\n")


def read_figures(path: Path) -> dict[str, Any]:
    """Return what `write_figures` wrote."""
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def describe_machine() -> dict[str, str | int | None]:
    """Return what a reader needs to know of this machine."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    """Return the processor's name as Linux gives it, "" elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
