"""The door through which `child` starts a sandbox; people use ``bulk-patch sandbox``."""

import sys

from .process import serve_for_parent
from .world import SandboxError

if __name__ == "__main__":
    try:
        sys.exit(serve_for_parent(sys.stdin))
    except (SandboxError, ValueError) as error:
        sys.exit(str(error))
