"""The suite of ledgers: runs, plans, sessions, outcomes and verifications, on real storage.

It needs two fixtures. `open_ledger` returns a function without arguments that opens the ledger of the job
`bulk_patch.testing.ledger_plans.JOB`, the same one each time within a test, to write. Its salts are zeros, so that the
same plan has the same hash. `ledger` is that ledger, open.
"""

from bulk_patch.testing.ledgers.checks import *  # noqa: F403
from bulk_patch.testing.ledgers.plan import *  # noqa: F403
from bulk_patch.testing.ledgers.runs import *  # noqa: F403
from bulk_patch.testing.ledgers.sending import *  # noqa: F403
from bulk_patch.testing.ledgers.sessions import *  # noqa: F403
