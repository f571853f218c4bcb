import os
import signal
import threading

import pytest

from bulk_patch.cli import terminal
from bulk_patch.errors import Exit
from bulk_patch.model import State
from bulk_patch.testing.ledger_plans import make_run
from bulk_patch.workflows.signals import SignalledError, interruptible

SIGNALS = [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_breaks_off_a_read_that_waits_for_a_person(number: signal.Signals, code: Exit) -> None:
    before = signal.getsignal(number)
    read, write = os.pipe()
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    with os.fdopen(read) as nobody, pytest.raises(SignalledError) as broken_off, interruptible():
        nobody.readline()
    os.close(write)
    assert broken_off.value.exit_code == code
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_question_can_be_broken_off_from_the_moment_it_is_seen(
    number: signal.Signals, code: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "say", lambda *_, **__: os.kill(os.getpid(), number))
    with pytest.raises(SignalledError) as broken_off:
        terminal.ask_to_send(make_run(), {State.PENDING: 1})
    assert broken_off.value.exit_code == code


def test_outside_the_main_thread_signals_are_the_callers_business() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def look() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
