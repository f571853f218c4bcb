"""`python -m bulk_patch` is `bulk-patch`."""

from bulk_patch.cli import main

main(prog_name="bulk-patch")
