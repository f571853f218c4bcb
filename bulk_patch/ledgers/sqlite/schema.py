"""The tables of a SQLite ledger, and how an older ledger becomes a newer one.

A schema change is a new entry at the end of `MIGRATIONS`; an entry that was ever released is never edited. Each is
applied in one transaction with the row that records it, so a ledger has all of a migration or nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bulk_patch.ledgers.sqlite.database import Database

APPLICATION_ID = 1651862635  # "bulk" in the file's header

#: Said once, before the first table; the page size before anything else is written.
FILE_SETTINGS = (
    "PRAGMA page_size = 16384",  # rows of 800 bytes leave a good part of smaller pages empty
    "PRAGMA application_id = 1651862635",
)

#: A row's place in the ledger is `run number << ROW_BITS | row`: one run is one range, and no second index is needed.
ROW_BITS = 32

#: Lanes: the rows for which something is left to do, each lane one short range of an index. None: nothing is left.
READY = 1  # may be claimed
OUT = 2  # sending
SPENT = 3  # spent its attempts in this session; the next one makes it READY


@dataclass(frozen=True, slots=True)
class Migration:
    """One schema change: statements that are applied together."""

    name: str
    statements: tuple[str, ...]


_TABLES = Migration(
    "tables",
    (
        # Which migrations were applied, and when.
        """
        CREATE TABLE migrations (
            version INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            applied_at REAL NOT NULL
        )
        """,
        # Single facts of the ledger: job, created_at, last_time.
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        # One line a run, the fields of ledgers.Run; a number is never given twice.
        """
        CREATE TABLE runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            job TEXT NOT NULL,
            target TEXT NOT NULL,
            kind TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('planning', 'sealed', 'closed')),
            secret TEXT NOT NULL,
            created_at REAL NOT NULL,
            actor TEXT NOT NULL,
            reason TEXT NOT NULL,
            ticket TEXT NOT NULL,
            identity TEXT NOT NULL,
            baseline TEXT NOT NULL,
            input_path TEXT NOT NULL,
            input_sha256 TEXT NOT NULL,
            input_size INTEGER NOT NULL,
            input_mtime_ns INTEGER NOT NULL,
            baseline_sha256 TEXT NOT NULL,
            columns TEXT NOT NULL,
            input_rows INTEGER NOT NULL,
            unchanged INTEGER NOT NULL,
            plan_sha256 TEXT NOT NULL,
            plan_s REAL NOT NULL,
            sealed_at REAL,
            started_at REAL,
            finished_at REAL,
            stopped_by TEXT NOT NULL,
            stop_reason TEXT NOT NULL,
            stop_hint TEXT NOT NULL,
            waived TEXT NOT NULL,
            exit_code INTEGER,
            details TEXT NOT NULL,
            stats TEXT NOT NULL
        )
        """,
        # What the plan says of a row; customer_id is 16 bytes when it is a UUID, else text (BLOB: stored as given).
        """
        CREATE TABLE rows (
            id INTEGER PRIMARY KEY,
            row INTEGER AS (id & 4294967295) VIRTUAL,
            customer_id BLOB NOT NULL,
            state TEXT NOT NULL,
            reason TEXT,
            hint TEXT,
            fields TEXT NOT NULL,
            read_back INTEGER NOT NULL,
            recheck INTEGER NOT NULL,
            cells BLOB NOT NULL,
            body BLOB,
            before BLOB
        )
        """,
        "CREATE TRIGGER rows_stay BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'a planned row never changes'); END",
        # How far a row came: small, because it is rewritten twice a row, and the plan's big values never.
        """
        CREATE TABLE progress (
            id INTEGER PRIMARY KEY,
            row INTEGER AS (id & 4294967295) VIRTUAL,
            state TEXT NOT NULL,
            lane INTEGER,
            requested INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            generation INTEGER NOT NULL DEFAULT 0,
            ambiguous INTEGER NOT NULL DEFAULT 0,
            spent_in INTEGER,
            spent_sessions INTEGER NOT NULL DEFAULT 0,
            final INTEGER NOT NULL DEFAULT 0,
            http_status INTEGER,
            api_code TEXT,
            reason TEXT,
            hint TEXT,
            first_intent_at REAL,
            key_intent_at REAL,
            done_at REAL
        )
        """,
        "CREATE INDEX progress_lane ON progress (lane) WHERE lane IS NOT NULL",
        "CREATE INDEX progress_requested ON progress (requested) WHERE requested = 1",
        "CREATE INDEX progress_spent_in ON progress (spent_in) WHERE spent_in IS NOT NULL",
        # Where a customer occurs; filled at the seal in its own order, since an index would write a page a row.
        """
        CREATE TABLE customers (
            customer_id BLOB NOT NULL,
            id INTEGER NOT NULL,
            PRIMARY KEY (customer_id, id)
        ) WITHOUT ROWID
        """,
        # The plan's hashes, see ledgers.seal.
        """
        CREATE TABLE chunks (
            run INTEGER NOT NULL REFERENCES runs,
            first_row INTEGER NOT NULL,
            last_row INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            sha256 BLOB NOT NULL,
            PRIMARY KEY (run, first_row)
        ) WITHOUT ROWID
        """,
        # Rows a state, and how many of them are in a lane; changed in the transaction that changes the rows.
        """
        CREATE TABLE counts (
            run INTEGER NOT NULL REFERENCES runs,
            state TEXT NOT NULL,
            rows INTEGER NOT NULL,
            open INTEGER NOT NULL,
            PRIMARY KEY (run, state),
            CHECK (0 <= open AND open <= rows)
        ) WITHOUT ROWID
        """,
        # One line a session of sending; ended_at is empty when a kill ended it.
        """
        CREATE TABLE sessions (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run INTEGER NOT NULL REFERENCES runs,
            actor TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            by_itself INTEGER
        )
        """,
        "CREATE INDEX sessions_run ON sessions (run)",
        # Generations after the first, written before their key is used.
        """
        CREATE TABLE generations (
            id INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            at REAL NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (id, generation)
        ) WITHOUT ROWID
        """,
        # Facts for the auditor.
        """
        CREATE TABLE notes (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run INTEGER NOT NULL REFERENCES runs,
            at REAL NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            detail TEXT NOT NULL
        )
        """,
        "CREATE INDEX notes_run ON notes (run)",
        # Numbers of discarded runs whose rows are still to be removed, slice by slice.
        "CREATE TABLE discarded (run INTEGER PRIMARY KEY)",
    ),
)

_CHECKS = Migration(
    "checks",
    (
        # One line a reading-back (`verify`); ended_at is empty while it can go on.
        """
        CREATE TABLE checks (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run INTEGER NOT NULL REFERENCES runs,
            actor TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            upto INTEGER NOT NULL DEFAULT 0,
            rows INTEGER NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX checks_run ON checks (run)",
        # Applied rows that were found changed; counts: 0 when later runs of the job explain all of it.
        """
        CREATE TABLE drifts (
            number INTEGER NOT NULL REFERENCES checks,
            id INTEGER NOT NULL,
            reason TEXT NOT NULL,
            fields TEXT NOT NULL,
            counts INTEGER NOT NULL,
            PRIMARY KEY (number, id)
        ) WITHOUT ROWID
        """,
    ),
)

_LEFT_AT = Migration(
    "left_at",
    (
        # When a request of an undecided row can have left for the last time; of almost all rows nothing is undecided.
        "ALTER TABLE progress ADD COLUMN left_at REAL",
        "CREATE INDEX progress_left_at ON progress (left_at) WHERE left_at IS NOT NULL",
        """
        UPDATE progress SET left_at = (SELECT value FROM meta WHERE name = 'last_time')
        WHERE lane IS NOT NULL AND state = 'unknown'
        """,
    ),
)

_SEAL_2 = Migration(
    "seal_2",
    (
        # One leaf a row, see ledgers.seal; none in plans that were sealed before.
        "ALTER TABLE rows ADD COLUMN salt BLOB",
        "ALTER TABLE rows ADD COLUMN leaf BLOB",
        # What the seal covers of a run besides; the salts of what its summary shows of customers.
        "ALTER TABLE runs ADD COLUMN terms TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE runs ADD COLUMN target_spec TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE runs ADD COLUMN seal_version INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE runs ADD COLUMN summary_salts BLOB NOT NULL DEFAULT x''",
    ),
)

_CHAIN = Migration(
    "chain",
    (
        # What happened, each with the hash of the one before, see ledgers.events; run: 0 for the ledger's own.
        """
        CREATE TABLE events (
            number INTEGER PRIMARY KEY,
            run INTEGER NOT NULL,
            at REAL NOT NULL,
            kind TEXT NOT NULL,
            detail TEXT NOT NULL,
            rows TEXT NOT NULL,
            state BLOB NOT NULL,
            sha256 BLOB NOT NULL
        )
        """,
        "CREATE INDEX events_run ON events (run)",
        # The event that wrote a row last; none: it is as it was planned, or older than the chain.
        "ALTER TABLE progress ADD COLUMN event INTEGER",
    ),
)

MIGRATIONS: Sequence[Migration] = (_TABLES, _CHECKS, _LEFT_AT, _SEAL_2, _CHAIN)

#: From this version on a ledger has a chain of events.
CHAINED_VERSION = 5

#: How a reader, who may not migrate, sees a ledger of the version before: (version, newest version) -> views that make
#: it look as if it had been migrated.
READ_AS_MIGRATED = {
    (3, 5): (
        "CREATE TEMP VIEW rows AS SELECT *, NULL AS salt, NULL AS leaf FROM main.rows",
        """
    CREATE TEMP VIEW runs AS
    SELECT *, '{}' AS terms, '{}' AS target_spec, 1 AS seal_version, x'' AS summary_salts FROM main.runs
    """,
    ),
    (4, 5): (),
}


_VERSION = "SELECT coalesce(max(version), 0) FROM migrations"
_RECORD = "INSERT INTO migrations (version, name, applied_at) VALUES (:version, :name, :now)"


def newest_version() -> int:
    """Return how many migrations a ledger has that is up to date."""
    return len(MIGRATIONS)


def read_version(database: Database) -> int:
    """Return how many migrations the ledger has."""
    line = database.first(_VERSION)
    return line[0] if line else 0


def migrate(database: Database, *, version: int, now: float) -> None:
    """Bring a ledger from this version to the newest.

    Args:
        database: The ledger's connection, open for writing.
        version: How many migrations it has; 0 for an empty file.
        now: Unix seconds, recorded with each migration.
    """
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        with database.transaction():
            for statement in migration.statements:
                database.run(statement)
            if number == CHAINED_VERSION:
                _begin_chain(database)
            database.run(_RECORD, {"version": number, "name": migration.name, "now": now})


def _begin_chain(database: Database) -> None:
    from bulk_patch.ledgers.sqlite.chain import first_event
    from bulk_patch.ledgers.sqlite.head_file import folders_of

    (runs,) = database.first("SELECT coalesce(max(number), 0) FROM runs") or (0,)
    (at,) = database.first("SELECT value FROM meta WHERE name = 'last_time'") or (0.0,)
    first_event(database, runs=runs, at=at, folders=folders_of(database.path.parent) if runs else [])
