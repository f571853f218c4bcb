"""A lifelike local Synctera API, to rehearse on and to be judged by.

It imports nothing else of ``bulk_patch``, so that it can judge it. `Sandbox` serves it in-process, `serve` in
the foreground, `child` in a process of its own.
"""

from typing import TYPE_CHECKING, Any

from .faults import Fault, Hook, Seen, random_faults
from .process import SandboxSettings, child, serve
from .seeds import load_customers
from .world import SandboxError

if TYPE_CHECKING:
    from .server import Sandbox

__all__ = [
    "Fault",
    "Hook",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "Seen",
    "child",
    "load_customers",
    "random_faults",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Load the server, and aiohttp with it, when it is first asked for."""
    if name == "Sandbox":
        from .server import Sandbox

        return Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
