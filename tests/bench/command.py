"""The command `bulk-patch` that says when its libraries are imported: `python -m tests.bench.command WORDS...`.

Its first line on stdout is that moment, monotonic seconds. Otherwise they are imported bit by bit, when needed.
"""

import sqlite3  # noqa: F401 - as all of these: so that it is not imported later, when time is measured
import time

import tqdm  # noqa: F401 - see above
import uvloop  # noqa: F401 - see above

import bulk_patch.workflows.run  # noqa: F401 - with all else that a run needs
from bulk_patch.cli import main

if __name__ == "__main__":
    print(time.monotonic(), flush=True)
    main()
