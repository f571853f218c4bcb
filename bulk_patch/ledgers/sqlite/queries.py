"""The statements of a SQLite ledger, named and whole; those of the chain are in chain_queries.py."""

from bulk_patch.ledgers.sqlite.chain_queries import PROGRESS

# --- runs

#: All facts of a run, in the order of `ledgers.records.Run`, after its number.
RUNS = """
SELECT number, id, job, target, kind, state, secret, created_at, actor, reason, ticket, identity, baseline, input_path,
    input_sha256, input_size, input_mtime_ns, baseline_sha256, columns, input_rows, unchanged, plan_sha256, plan_s,
    sealed_at, started_at, finished_at, stopped_by, stop_reason, stop_hint, waived, exit_code, details, stats,
    terms, target_spec, seal_version
FROM runs
WHERE (:id IS NULL OR id = :id) AND (:target IS NULL OR target = :target)
ORDER BY number DESC
"""

#: The newest sealed run of a target that has a row in a lane.
OPEN_RUN = """
SELECT id FROM runs
WHERE target = :target AND state = 'sealed'
    AND EXISTS (SELECT 1 FROM counts WHERE counts.run = runs.number AND counts.open > 0)
ORDER BY number DESC LIMIT 1
"""

#: A new run.
INSERT_RUN = """
INSERT INTO runs (id, job, target, kind, state, secret, created_at, actor, reason, ticket, identity, baseline,
    input_path, input_sha256, input_size, input_mtime_ns, baseline_sha256, columns, input_rows, unchanged,
    plan_sha256, plan_s, sealed_at, started_at, finished_at, stopped_by, stop_reason, stop_hint, waived,
    exit_code, details, stats, terms, target_spec, seal_version)
VALUES (:id, :job, :target, :kind, :state, :secret, :created_at, :actor, :reason, :ticket, :identity, :baseline,
    :input_path, :input_sha256, :input_size, :input_mtime_ns, :baseline_sha256, :columns, :input_rows, :unchanged,
    :plan_sha256, :plan_s, :sealed_at, :started_at, :finished_at, :stopped_by, :stop_reason, :stop_hint, :waived,
    :exit_code, :details, :stats, :terms, :target_spec, :seal_version)
"""

#: The facts of a run that may change after its plan.
UPDATE_RUN = """
UPDATE runs SET stopped_by = :stopped_by, stop_reason = :stop_reason, stop_hint = :stop_hint, waived = :waived,
    exit_code = :exit_code, finished_at = :finished_at, stats = :stats, input_size = :input_size,
    input_mtime_ns = :input_mtime_ns
WHERE id = :id
"""

#: The facts of a run that its seal fixes.
SEAL_RUN = """
UPDATE runs SET state = 'sealed', input_rows = :input_rows, unchanged = :unchanged, plan_sha256 = :plan_sha256,
    plan_s = :plan_s, sealed_at = :sealed_at, details = :details, summary_salts = :summary_salts
WHERE id = :id
"""

#: `--new` closed it.
CLOSE_RUN = "UPDATE runs SET state = 'closed' WHERE id = :id"

#: The first intent of a run.
START_RUN = "UPDATE runs SET started_at = :now WHERE number = :run AND started_at IS NULL"

#: The end of a run's last session.
FINISH_RUN = "UPDATE runs SET finished_at = :now WHERE number = :run"

#: Where a run is in its life.
RUN_STATE = "SELECT state FROM runs WHERE number = :run"

#: Unsealed plans of a target.
UNSEALED = "SELECT number, id FROM runs WHERE target = :target AND state = 'planning'"

# --- time

#: The latest time ever written.
LAST_TIME = "SELECT value FROM meta WHERE name = 'last_time'"

# --- planning

#: One row of a plan.
INSERT_ROW = """
INSERT INTO rows (id, customer_id, state, reason, hint, fields, read_back, recheck, cells, body, before, salt, leaf)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

#: Where the rows of one batch stand before anything was sent; 1 is the lane READY.
INSERT_PROGRESS = """
INSERT INTO progress (id, state, lane)
SELECT id, state, CASE state WHEN 'pending' THEN 1 END FROM rows WHERE id BETWEEN :first AND :last ORDER BY id
"""

#: One chunk of a plan.
INSERT_CHUNK = """
INSERT INTO chunks (run, first_row, last_row, rows, sha256) VALUES (:run, :first_row, :last_row, :rows, :sha256)
"""

#: KiB for the seal, which sorts in it; and for all the rest.
LARGE_CACHE = "PRAGMA cache_size = -65536"
SMALL_CACHE = "PRAGMA cache_size = -4096"

#: The customers of a plan, in the order of the index.
INSERT_CUSTOMERS = """
INSERT INTO customers (customer_id, id) SELECT customer_id, id FROM rows WHERE id BETWEEN :first AND :last ORDER BY 1, 2
"""

#: One state's count at the seal.
INSERT_COUNT = "INSERT INTO counts (run, state, rows, open) VALUES (:run, :state, :rows, :open)"

# --- discarding

#: Everything small of a run, in the order that the references allow.
DELETE_RUN = (
    "DELETE FROM drifts WHERE number IN (SELECT number FROM checks WHERE run = :run)",
    "DELETE FROM checks WHERE run = :run",
    "DELETE FROM notes WHERE run = :run",
    "DELETE FROM sessions WHERE run = :run",
    "DELETE FROM counts WHERE run = :run",
    "DELETE FROM chunks WHERE run = :run",
    "DELETE FROM runs WHERE number = :run",
    "INSERT INTO discarded (run) VALUES (:run)",
)

#: A discarded run whose rows are still there.
NEXT_DISCARDED = "SELECT run FROM discarded ORDER BY run LIMIT 1"

#: The last row of a discarded run.
LAST_ROW = "SELECT max(id) FROM rows WHERE id BETWEEN :first AND :last"

#: One slice of a discarded run.
DELETE_SLICE = (
    "DELETE FROM progress WHERE id BETWEEN :first AND :last",
    "DELETE FROM rows WHERE id BETWEEN :first AND :last",
)

#: What is left of a discarded run; the customers in one pass, since their order is not the rows'.
DELETE_REST = (
    "DELETE FROM customers WHERE id BETWEEN :first AND :last",
    "DELETE FROM discarded WHERE run = :run",
)

# --- sending

#: A new session.
INSERT_SESSION = "INSERT INTO sessions (run, actor, started_at) VALUES (:run, :actor, :now)"

#: The end of a session.
END_SESSION = "UPDATE sessions SET ended_at = :now, by_itself = :by_itself WHERE number = :session"

#: All chunks of a plan.
CHUNKS = "SELECT first_row, last_row, rows, sha256 FROM chunks WHERE run = :run ORDER BY first_row"

#: The rows of one chunk, as they were planned.
CHUNK_ROWS = """
SELECT row, customer_id, state, cells, coalesce(reason, ''), coalesce(hint, ''), fields, body, before, read_back,
    recheck, salt, leaf
FROM rows WHERE id BETWEEN :first AND :last ORDER BY id
"""

#: How many rows a plan has.
COUNT_ROWS = "SELECT count(*) FROM rows WHERE id BETWEEN :first AND :last"

#: The same of a plan that was sealed by version 1, whose chunks cover the rows to send alone.
OLD_CHUNK_ROWS = """
SELECT row, customer_id, body, before, read_back, recheck FROM rows
WHERE id BETWEEN :first AND :last AND body IS NOT NULL ORDER BY id
"""
COUNT_OLD_ROWS = "SELECT count(*) FROM rows WHERE id BETWEEN :first AND :last AND body IS NOT NULL"

#: The salts of what a run's summary shows of customers.
SUMMARY_SALTS = "SELECT summary_salts FROM runs WHERE number = :run"

#: The next rows to send. The index must be named: by its statistics-free guess SQLite walks all rows that are done.
NEXT_READY = f"""
SELECT p.row, r.customer_id, r.body, r.before, r.read_back, r.recheck, {PROGRESS}
FROM progress AS p INDEXED BY progress_lane CROSS JOIN rows AS r ON r.id = p.id
WHERE p.lane = 1 AND p.id BETWEEN :first AND :last ORDER BY p.id LIMIT :n
"""

#: The next rows to send among those that `retry` asked for.
NEXT_REQUESTED = f"""
SELECT p.row, r.customer_id, r.body, r.before, r.read_back, r.recheck, {PROGRESS}
FROM progress AS p INDEXED BY progress_requested CROSS JOIN rows AS r ON r.id = p.id
WHERE p.requested = 1 AND p.lane = 1 AND p.id BETWEEN :first AND :last ORDER BY p.id LIMIT :n
"""

#: The rows to send among these.
NEXT_AMONG = f"""
SELECT p.row, r.customer_id, r.body, r.before, r.read_back, r.recheck, {PROGRESS}
FROM json_each(:ids) AS asked CROSS JOIN progress AS p ON p.id = asked.value CROSS JOIN rows AS r ON r.id = p.id
WHERE p.lane = 1 AND p.requested >= :only_requested AND p.id BETWEEN :first AND :last ORDER BY p.id LIMIT :n
"""

#: A generation of rows, before its key is used.
INSERT_GENERATIONS = """
INSERT INTO generations (id, generation, at, reason)
SELECT value, :generation, :now, :reason FROM json_each(:ids)
"""

#: The change of one state's count.
CHANGE_COUNT = "UPDATE counts SET rows = rows + :rows, open = open + :open WHERE run = :run AND state = :state"

# --- retry

#: Rows that are asked for.
COUNT_REQUESTED = """
SELECT count(*) FROM progress INDEXED BY progress_requested
WHERE requested = 1 AND lane IS NOT NULL AND id BETWEEN :first AND :last
"""

# --- notes

#: A fact for the auditor.
INSERT_NOTE = "INSERT INTO notes (run, at, actor, action, detail) VALUES (:run, :now, :actor, :action, :detail)"

#: The facts of a run.
NOTES = "SELECT at, actor, action, detail FROM notes WHERE run = :run ORDER BY number"

# --- reading back

#: A new check.
INSERT_CHECK = "INSERT INTO checks (run, actor, started_at) VALUES (:run, :actor, :now)"

#: The checks of a run, newest first.
CHECKS = """
SELECT number, actor, started_at, ended_at, upto, rows,
    (SELECT count(*) FROM drifts WHERE drifts.number = checks.number AND counts = 1)
FROM checks WHERE run = :run ORDER BY number DESC
"""

#: When the rows of a run changed last.
LAST_SESSION = "SELECT coalesce(max(started_at), 0.0) FROM sessions WHERE run = :run"

#: How far a check came; it only goes on.
MOVE_CHECK = """
UPDATE checks SET upto = :upto, rows = rows + :rows
WHERE number = :number AND run = :run AND ended_at IS NULL AND upto < :upto
"""

#: The end of a check.
END_CHECK = "UPDATE checks SET ended_at = :now WHERE number = :number AND run = :run"

#: One row that drifted.
INSERT_DRIFT = """
INSERT INTO drifts (number, id, reason, fields, counts) VALUES (:number, :id, :reason, :fields, :counts)
"""

#: One page of what a check found.
DRIFTS = """
SELECT d.id, r.row, r.customer_id, d.reason, d.fields, d.counts FROM drifts AS d CROSS JOIN rows AS r ON r.id = d.id
WHERE d.number = :number AND d.id > :after ORDER BY d.id LIMIT :n
"""

# --- reading

#: The last sessions of a run, newest first.
SESSIONS = "SELECT actor, started_at, ended_at FROM sessions WHERE run = :run ORDER BY number DESC LIMIT :n"

#: Rows per state.
COUNTS = "SELECT state, rows FROM counts WHERE run = :run"

#: How many rows are in a lane.
COUNT_OPEN = "SELECT coalesce(sum(open), 0) FROM counts WHERE run = :run"

#: One page of rows, after the last one of the page before.
PAGE = f"""
SELECT p.id, p.row, r.customer_id, p.state, r.cells, coalesce(p.reason, r.reason, ''), coalesce(p.hint, r.hint, ''),
    r.fields, r.body, r.before, p.attempts, p.http_status, coalesce(p.api_code, ''), p.generation,
    p.first_intent_at, p.key_intent_at, p.done_at, p.final,
    r.state, {PROGRESS}
FROM progress AS p CROSS JOIN rows AS r ON r.id = p.id
WHERE p.id > :after AND p.id <= :last
    AND (:states IS NULL OR p.state IN (SELECT value FROM json_each(:states)))
ORDER BY p.id LIMIT :n
"""

#: One page of rows of one customer.
CUSTOMER_PAGE = f"""
SELECT p.id, p.row, r.customer_id, p.state, r.cells, coalesce(p.reason, r.reason, ''), coalesce(p.hint, r.hint, ''),
    r.fields, r.body, r.before, p.attempts, p.http_status, coalesce(p.api_code, ''), p.generation,
    p.first_intent_at, p.key_intent_at, p.done_at, p.final,
    r.state, {PROGRESS}
FROM customers AS c CROSS JOIN progress AS p ON p.id = c.id CROSS JOIN rows AS r ON r.id = c.id
WHERE c.customer_id = :customer_id AND c.id > :after AND c.id <= :last
    AND (:states IS NULL OR p.state IN (SELECT value FROM json_each(:states)))
ORDER BY c.id LIMIT :n
"""

#: Every row of one customer, with its run; 32 is ROW_BITS.
HISTORY = f"""
SELECT runs.id, runs.secret, p.id, p.row, r.customer_id, p.state, r.cells, coalesce(p.reason, r.reason, ''),
    coalesce(p.hint, r.hint, ''), r.fields, r.body, r.before, p.attempts, p.http_status, coalesce(p.api_code, ''),
    p.generation, p.first_intent_at, p.key_intent_at, p.done_at, p.final,
    r.state, {PROGRESS}
FROM customers AS c CROSS JOIN progress AS p ON p.id = c.id CROSS JOIN rows AS r ON r.id = c.id
CROSS JOIN runs ON runs.number = c.id >> 32
WHERE c.customer_id = :customer_id
ORDER BY c.id
"""

#: What runs of a target changed at one customer, oldest first; 32 is ROW_BITS.
APPLIED_BODIES = f"""
SELECT runs.id, p.row, r.body, r.state, {PROGRESS}
FROM customers AS c CROSS JOIN progress AS p ON p.id = c.id CROSS JOIN rows AS r ON r.id = c.id
CROSS JOIN runs ON runs.number = c.id >> 32
WHERE c.customer_id = :customer_id AND p.state IN ('applied', 'mismatch') AND runs.target = :target
ORDER BY c.id
"""
