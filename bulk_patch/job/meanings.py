"""What each setting of a job file is for, and an example of it: the words of `bulk-patch settings`.

Types and defaults come from the models (`job.reference` joins the two); a test holds .github/SETTINGS.md to both. A
new setting gets its line here. Words in backticks are typed as they stand.
"""

#: Dotted name -> what it means, and its line in a job file ("" for a setting that is refused for now).
MEANINGS: dict[str, tuple[str, str]] = {
    "name": (
        "Names the job and its folder `output/<name>/`",
        'name = "address-corrections"',
    ),
    "description": (
        "A note for those who read the job file",
        'description = "Returned mail, November"',
    ),
    "input.path": (
        "A .csv, .tsv, .jsonl, .parquet or .xlsx file, each also packed as .gz or .zst, or a folder of Parquet files "
        "that are read in the order of their names; folders in it such as `state=CA` (Hive, Spark, DuckDB) are columns",
        'path = "corrections.csv"',
    ),
    "input.id": (
        "The column with the API's own id of the record",
        'id = "customer_id"',
    ),
    "input.format": (
        "How the file is written. `auto`: by its suffix. Of JSON lines each object is a row, nested ones are dotted "
        "columns, and a member that is null or missing is no change",
        'format = "csv"',
    ),
    "input.delimiter": (
        "What separates the cells of a text file: one character, or `comma`, `semicolon`, `tab`, `pipe`. `auto`: that "
        "with which the header has the column `input.id`; the plan shows what was taken",
        'delimiter = "semicolon"',
    ),
    "input.encoding": (
        "How the characters of a text file are written. `auto`: UTF-8, and UTF-16 or UTF-32 by their mark; another one "
        "is refused with some of its cells as each candidate reads them",
        'encoding = "windows-1252"',
    ),
    "input.skip_rows": (
        "Lines above the header that are left out, at most 1000. `auto`: title lines, where one line below them can be "
        "the header",
        "skip_rows = 2",
    ),
    "input.header_row": (
        "Which of the rows after them names the columns; those above it are left out",
        "header_row = 2",
    ),
    "input.sheet": (
        "The sheet of an Excel workbook. Not set: its only visible one",
        'sheet = "Corrections"',
    ),
    "input.table": (
        "A table of an Excel workbook, by the name that Excel shows for it, in place of a whole sheet",
        'table = "Table1"',
    ),
    "input.hidden": (
        "Rows of an Excel sheet that are hidden or filtered out: refused, left out, or taken as the others",
        'hidden = "skip"',
    ),
    "input.formulas": (
        "Formulas in an Excel sheet: refused, or the values that Excel calculated last",
        'formulas = "values"',
    ),
    "input.blank": (
        "What an empty cell means: no change, clear the field (needs `may_clear`), or the row is invalid",
        'blank = "clear"',
    ),
    "input.clear": (
        "Cell text that clears a field",
        'clear = "(delete)"',
    ),
    "input.may_clear": (
        "The fields that may be cleared; a clear of another one makes the row invalid",
        'may_clear = ["middle_name"]',
    ),
    "input.duplicates": (
        "Rows of one id that disagree: all of them are invalid, or a later row overrides field by field",
        'duplicates = "last"',
    ),
    "input.rename": (
        'Column in the file = field of the API; `""` ignores the column. A column that is neither a field nor '
        "renamed is an error",
        'rename = { ZIP = "legal_address.postal_code", remarks = "" }',
    ),
    "input.convert": (
        "Column in the file = how its cells become what the API takes, before anything is compared: `date:M/D/YYYY` "
        "(also MM, DD, MMM), `phone:US`, `zip:US`, `map:{USA=US}`, `uuid`, `upper`, `trim`, `number`. A cell that "
        "cannot be converted makes its row invalid; the plan shows what was converted",
        'convert = { DOB = "date:M/D/YYYY", ZIP = "zip:US" }',
    ),
    "input.max_age_h": (
        "An input that was last modified longer ago stops `plan` and `run` with 5",
        "max_age_h = 26",
    ),
    "baseline.kind": (
        "What the wanted values are compared with: the API, an export, what this job's runs have confirmed, or nothing",
        'kind = "file"',
    ),
    "baseline.path": (
        "A .csv or .parquet file of records with dotted columns, its id in `customer_id` or `id`; required "
        'with `kind = "file"` and refused otherwise',
        'path = "customers.parquet"',
    ),
    "baseline.max_age_h": (
        "With `live`: when the plan is older than this, every row is read again before it is sent",
        "max_age_h = 6",
    ),
    "target.kind": (
        "The API",
        'kind = "synctera"',
    ),
    "target.base_url": (
        "https, or http to loopback; without user, query or fragment",
        'base_url = "https://api-sandbox.synctera.com/v0"',
    ),
    "target.resource": (
        "The path segment; `persons` knows two more fields",
        'resource = "persons"',
    ),
    "target.token": (
        "Where the token is found: `env:NAME`, `file:PATH`, or `cmd:PROGRAM ARGS` (no shell, in the job file's folder, "
        "at most 30 s). A file must be closed to others: `chmod 600`. Fetched again when the API refuses it",
        'token = "file:synctera.token"',
    ),
    "target.proxy": (
        "An HTTP proxy for all requests, with scheme and without user or password; only with an https `base_url`, "
        "not used by `--sandbox`. The environment's proxy settings are not used",
        'proxy = "http://127.0.0.1:3128"',
    ),
    "target.proxy_auth": (
        "Where the proxy's `USER:PASSWORD` is found: `env:NAME`, `file:PATH`, or `cmd:PROGRAM ARGS`",
        'proxy_auth = "env:PROXY_AUTH"',
    ),
    "target.ca_file": (
        "PEM file of a private certificate authority, in place of the system's",
        'ca_file = "ca.pem"',
    ),
    "limits.rate_per_s": (
        "Requests per second, reads and retries included; never exceeded in any window",
        "rate_per_s = 50",
    ),
    "limits.concurrency": (
        "Requests under way at once; at least the rate times the seconds that one answer takes",
        "concurrency = 32",
    ),
    "limits.timeout_s": (
        "Seconds for one request; longer than the API's own timeout, so that its answer comes first",
        "timeout_s = 30",
    ),
    "limits.share": (
        "Runs that say the same name keep one rate together, however many processes; all need the same `rate_per_s`",
        'share = "synctera-prod"',
    ),
    "limits.share_at": (
        "Where those who share a rate meet: a file of this host, or the ledger's database",
        'share_at = "host"',
    ),
    "limits.share_dir": (
        "Folder of this host for the file of a shared rate, for several logins; not set: one of this login's own",
        'share_dir = "/run/lock/synctera"',
    ),
    "limits.reserve": (
        "Part of the rate that is left to others who use the same API key, from 0 to below 1",
        "reserve = 0.2",
    ),
    "retry.attempts": (
        "Attempts per row and run; a 429 and a pause do not count",
        "attempts = 5",
    ),
    "retry.longest_delay_s": (
        "The longest wait between two attempts of a row, unless the API asks for more",
        "longest_delay_s = 30",
    ),
    "retry.give_up_after_s": (
        "Without any success for so long, the run ends with 4",
        "give_up_after_s = 900",
    ),
    "guards.fields": (
        "Only these fields may change; another one in the input is an error (2). An object's name stands for "
        "all its parts. Not set: every field",
        'fields = ["email", "legal_address"]',
    ),
    "guards.max_changes": (
        "More changes than this in a plan stop the run before anything is sent. Not set: no limit",
        "max_changes = 500",
    ),
    "guards.min_rows": (
        "Fewer rows in the input stop `plan` and `run` with 5; a share is of the last complete run's rows. Not "
        "set: a header without rows does so; `0`: it does not",
        'min_rows = "80%"',
    ),
    "guards.max_invalid": (
        "More invalid rows than this stop `plan` and `run` with 5, also when no row is left to send",
        'max_invalid = "100%"',
    ),
    "guards.max_failures": (
        "More rejected or mismatched rows than this among the last 500 answers, and at least 10, stop the run. "
        '`"100%"` switches it off',
        'max_failures = "1%"',
    ),
    "guards.canary": (
        "So many first rows are sent one by one and read back; one that does not end applied stops the run. 0: none",
        "canary = 25",
    ),
    "guards.watch": (
        "Fields and the values that they should keep. A record counts when its value was in the list and the "
        "answer's is not; one in the canary, later ten in the last 500 rows, stop the run",
        'watch = { kyc_status = ["ACCEPTED"] }',
    ),
    "guards.taken_back": (
        "Rows that ask again for a value that an undo took back stop the run before anything is sent (5), or are set "
        "aside as `kept` while the rest is sent (3)",
        'taken_back = "keep"',
    ),
    "guards.drift": (
        "Read a row again before it is sent, and set it aside as `drifted` if it changed: only where the "
        "baseline is old or an object was completed from a file or an earlier run; every row; or never",
        'drift = "check"',
    ),
    "guards.approval": (
        "The run waits (9) until another person has approved the plan. `--set` can switch it on, not off",
        "approval = true",
    ),
    "guards.approval_valid_h": (
        "Hours for which an approval counts",
        "approval_valid_h = 24",
    ),
    "guards.allowed_signers": (
        "A file of public keys as ssh-keygen reads it; only signed approvals by one of them count then",
        'allowed_signers = "allowed_signers"',
    ),
    "guards.signer_patterns": (
        "Lines of `allowed_signers` whose names are patterns (`*@example.com`), or whose key is a certificate "
        "authority's, count too: one key may then sign under many names",
        "signer_patterns = true",
    ),
    "ledger.kind": (
        "Where runs are recorded: a file `ledger.db` in the job's folder",
        'kind = "sqlite"',
    ),
    "ledger.url": (
        "Not built yet, refused",
        "",
    ),
    "ledger.group": (
        "A group of this machine that shares the job's folder: files 0660, folders 2770",
        'group = "compliance"',
    ),
    "ledger.shared_filesystem": (
        "Take a ledger on a network file system (nfs, cifs, 9p and others), where two hosts may send at once",
        'shared_filesystem = "I know"',
    ),
    "engine.kind": (
        "Who sends: this process",
        'kind = "local"',
    ),
    "sandbox.customers": (
        "A .csv or .parquet file of customers that `--sandbox` starts with, once; the input's ids have to be "
        "among them",
        'customers = "customers.parquet"',
    ),
}

#: What kind of value a setting wants, where its type does not tell.
KINDS: dict[str, str] = {
    "name": "small letters, digits and `-`, at most 64",
    "input.may_clear": "list of fields",
    "target.resource": "`customers` or `persons`",
    "target.token": "reference",
    "target.proxy_auth": "reference",
    "guards.fields": "list of fields",
    "guards.max_invalid": "number of rows, or a share",
    "guards.max_failures": "number of rows, or a share",
    "guards.min_rows": "number of rows, or a share",
}
