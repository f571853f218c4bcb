"""Signals: SIGINT and SIGTERM drain, SIGHUP is ignored."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bulk_patch.errors import BulkPatchError, Exit

CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class SignalledError(BulkPatchError):
    """A signal came while nothing was being sent; an unsealed plan is discarded."""

    def __init__(self, code: Exit) -> None:
        super().__init__("stopped by a signal; this command has sent nothing", "run the same command again")
        self.exit_code = code


@contextmanager
def draining(on_signal: Callable[[Exit], None]) -> Iterator[None]:
    """Hand SIGINT and SIGTERM to `on_signal` in the running loop, and ignore SIGHUP, which a closed terminal sends.

    Outside the main thread nothing is installed: there, signals are up to the caller.

    Raises:
        SignalledError: `on_signal` cancelled the task, because nothing had been sent yet.
    """
    loop = asyncio.get_running_loop()
    received: list[Exit] = []

    def receive(code: Exit) -> None:
        received.append(code)
        on_signal(code)

    installed = []
    for number, code in CODES.items():
        try:
            loop.add_signal_handler(number, receive, code)
        except (ValueError, RuntimeError):  # outside the main thread: the first from uvloop, the second from asyncio
            break
        installed.append(number)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN) if installed else None
    try:
        yield
    except asyncio.CancelledError:
        if not received:
            raise
        raise SignalledError(received[0]) from None
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
        if installed:
            signal.signal(signal.SIGHUP, before or signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM interrupt a read from the terminal, which an event loop's handlers do not.

    Raises:
        SignalledError: One of them arrived.
    """

    def break_off(number: int, _: object) -> None:
        raise SignalledError(CODES[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():  # there, signals are up to the caller
        yield
        return
    before = {number: signal.signal(number, break_off) for number in CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
