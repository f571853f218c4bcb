"""The statements of a SQLite ledger that write and check its chain of events, and move rows."""

#: All that is kept of how far a row came, in the order of `ledgers.events.Progress`, and the event that wrote it.
_PROGRESS = """p.state, p.lane, p.requested, p.attempts, p.generation, p.ambiguous, p.spent_in, p.spent_sessions,
    p.final, p.http_status, p.api_code, p.reason, p.hint, p.first_intent_at, p.key_intent_at, p.done_at, p.left_at"""
PROGRESS = f"{_PROGRESS}, p.event"

# --- events

#: A new event.
INSERT_EVENT = """
INSERT INTO events (number, run, at, kind, detail, rows, state, sha256)
VALUES (:number, :run, :at, :kind, :detail, :rows, :state, :sha256)
"""

#: The last event.
LAST_EVENT = "SELECT number, at, sha256 FROM events ORDER BY number DESC LIMIT 1"

#: What the newest events carry, of one run or of all.
NEWEST_OF_RUN = "SELECT number, state FROM events WHERE run = :run ORDER BY number DESC LIMIT :n"
NEWEST = "SELECT number, state FROM events ORDER BY number DESC LIMIT :n"

#: Events with the hash of the one before each, by their numbers, of one run, and all.
EVENTS = """
SELECT e.number, e.run, e.at, e.kind, e.detail, e.rows, e.state, e.sha256, b.sha256
FROM json_each(:numbers) AS asked CROSS JOIN events AS e ON e.number = asked.value
LEFT JOIN events AS b ON b.number = e.number - 1
"""
EVENTS_OF_RUN = """
SELECT e.number, e.run, e.at, e.kind, e.detail, e.rows, e.state, e.sha256, b.sha256
FROM events AS e LEFT JOIN events AS b ON b.number = e.number - 1
WHERE (:run IS NULL OR e.run = :run) AND e.number > :after ORDER BY e.number LIMIT :n
"""

#: The event that sealed a run, the one that began it, and the first of the ledger.
SEALED_EVENT = "SELECT number FROM events WHERE run = :run AND kind = 'sealed' ORDER BY number LIMIT 1"

#: Where a run is in its life.
RUN_STATE_NUMBER = "SELECT state FROM runs WHERE number = :run"

#: What tells which runs there are.
RUN_IDS = "SELECT number, id FROM runs ORDER BY number"

#: Everything small of a run.
FACTS = "SELECT * FROM runs WHERE number = :run"
COUNTS = "SELECT state, rows, open FROM counts WHERE run = :run ORDER BY state"
SESSIONS = "SELECT number, actor, started_at, ended_at, by_itself FROM sessions WHERE run = :run ORDER BY number"
NOTES = "SELECT number, at, actor, action, detail FROM notes WHERE run = :run ORDER BY number"
CHECKS = "SELECT number, actor, started_at, ended_at, upto, rows FROM checks WHERE run = :run ORDER BY number"
DRIFTS = """
SELECT number, id, reason, fields, counts FROM drifts
WHERE number IN (SELECT number FROM checks WHERE run = :run) AND (number, id) > (:number, :after) ORDER BY number, id
"""

#: How many rows a run keeps, and which events wrote them last.
SUM_ROWS = "SELECT count(*), coalesce(sum(event), 0) FROM progress WHERE id BETWEEN :first AND :last"

#: How many rows are in a lane; the index holds no others.
COUNT_LANES = """
SELECT count(*) FROM progress INDEXED BY progress_lane WHERE lane IS NOT NULL AND id BETWEEN :first AND :last
"""

#: The entries of the customers' index from one id to another; by row, as they were planned.
INDEX_PART = """
SELECT id >> 32, id & 4294967295, customer_id FROM customers
WHERE customer_id >= :first AND (:last IS NULL OR customer_id < :last) ORDER BY id
"""

# --- rows on the move

#: Rows that are alike in everything, together: these, ...
_GROUPS = f"SELECT {PROGRESS}, json_group_array(p.row) FROM progress AS p"
_ALIKE = "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18"
GROUPS = f"{_GROUPS} WHERE p.id IN (SELECT value FROM json_each(:ids)) {_ALIKE}"

#: ... those that an earlier session left: in flight, with spent attempts, or later than now, ...
GROUPS_LEFT = f"""
{_GROUPS} WHERE p.id IN (
    SELECT id FROM progress INDEXED BY progress_lane WHERE lane = 2 AND id BETWEEN :first AND :last
    UNION SELECT id FROM progress INDEXED BY progress_lane WHERE lane = 3 AND id BETWEEN :first AND :last
    UNION SELECT id FROM progress INDEXED BY progress_left_at
    WHERE left_at > :now AND lane IS NOT NULL AND id BETWEEN :first AND :last
) {_ALIKE}
"""

#: ... all that may be claimed, ...
GROUPS_READY = f"""
{_GROUPS} INDEXED BY progress_lane WHERE p.lane IN (1, 3) AND p.id BETWEEN :first AND :last {_ALIKE}
"""

#: ... unknown ones that spent their attempts in this session, ...
GROUPS_SPENT = f"""
{_GROUPS} INDEXED BY progress_spent_in WHERE p.spent_in = :session AND p.state = 'unknown'
    AND p.id BETWEEN :first AND :last {_ALIKE}
"""

#: ... those that `retry` may ask for, ...
GROUPS_REFUSED = f"""
{_GROUPS} WHERE p.id BETWEEN :first AND :last AND p.state IN ('rejected', 'unknown', 'sending') {_ALIKE}
"""

#: ... and those that it has asked for.
GROUPS_REQUESTED = f"""
{_GROUPS} INDEXED BY progress_requested
WHERE p.requested = 1 AND p.lane IS NOT NULL AND p.id BETWEEN :first AND :last {_ALIKE}
"""

#: What rows that are alike become.
MOVE = """
UPDATE progress SET state = :state, lane = :lane, requested = :requested, attempts = :attempts,
    generation = :generation, ambiguous = :ambiguous, spent_in = :spent_in, spent_sessions = :spent_sessions,
    final = :final, http_status = :http_status, api_code = :api_code, reason = :reason, hint = :hint,
    first_intent_at = :first_intent_at, key_intent_at = :key_intent_at, done_at = :done_at, left_at = :left_at,
    event = :event
WHERE id IN (SELECT value FROM json_each(:ids))
"""

#: The run of an entry of the customers' index whose row is not there; 32 is ROW_BITS.
DANGLING_ENTRY = """
SELECT runs.number FROM customers AS c CROSS JOIN runs ON runs.number = c.id >> 32
WHERE c.customer_id = :customer_id
    AND (c.id NOT IN (SELECT id FROM rows) OR c.id NOT IN (SELECT id FROM progress))
LIMIT 1
"""
