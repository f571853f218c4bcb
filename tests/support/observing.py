"""What the tests of the log share: child processes, and run.log as objects."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a run.log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_child(program: str, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in a new Python."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, timeout=60, check=False, **streams)
