"""Take a ledger that is older than its folder, when a person says so: nothing that was open in it is trusted."""

import time
from functools import partial

from bulk_patch.ledgers.events import RESTORED, Progress
from bulk_patch.ledgers.sqlite import chain_queries, queries
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.head_file import folders_of
from bulk_patch.ledgers.sqlite.progress import RowMover
from bulk_patch.ledgers.sqlite.schema import READY
from bulk_patch.model import State


def accept_restored(chain: ChainWriter, *, reason: str, gap: str) -> None:
    """Record that an older ledger is taken, and make every open row of it ambiguous: it may have been sent.

    Args:
        chain: Of the ledger.
        reason: Why a person takes it.
        gap: What it does not know.
    """
    chain.check_all()
    runs = chain.database.all("SELECT number, state, coalesce(sealed_at, created_at) FROM runs ORDER BY number")
    now = time.time()
    with chain.transaction():
        last = max((number for number, *_ in runs), default=0)
        folders = folders_of(chain.database.path.parent)
        detail = {"reason": reason, "gap": gap, "folders": folders, "last_run": last}
        chain.append(0, RESTORED, now=now, detail=detail)
        for number, state, sealed_at in runs:
            if state == "sealed":
                _doubt(chain, number, sealed_at, now)


def _doubt(chain: ChainWriter, run: int, sealed_at: float, now: float) -> None:
    mover = RowMover(chain, run)
    groups = [group for group in mover.find(chain_queries.GROUPS_READY) if group[0].state == State.PENDING]
    if not groups:
        return
    mover.move_all(groups, partial(_possibly_sent, sealed_at=sealed_at, now=now))
    chain.database.run(queries.START_RUN, {"run": run, "now": sealed_at})
    mover.tell(RESTORED, now=now)


def _possibly_sent(was: Progress, *, sealed_at: float, now: float) -> Progress:
    return was._replace(
        state=str(State.UNKNOWN),
        lane=READY,
        ambiguous=1,
        reason="ledger_restored",
        first_intent_at=sealed_at if was.first_intent_at is None else was.first_intent_at,
        key_intent_at=sealed_at if was.key_intent_at is None else was.key_intent_at,
        left_at=now,
    )
