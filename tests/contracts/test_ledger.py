"""Every kind of ledger in the tree goes through the suite that other packages run over theirs."""

from bulk_patch.testing.ledgers import *  # noqa: F403
