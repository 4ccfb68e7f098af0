-- The journal of runs. Events are facts: they are appended, never changed.

CREATE TABLE run (
    id          TEXT PRIMARY KEY,
    topology    TEXT NOT NULL,
    runbook     TEXT NOT NULL,
    mode        TEXT NOT NULL,
    plan        TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    created_at  INTEGER NOT NULL,           -- milliseconds since 1970, UTC, as all times here
    -- What the last events say, kept with them in one transaction so that a list of runs reads no journal.
    finished_at INTEGER,
    outcome     TEXT,
    moved_to    TEXT,                       -- the site that serves since this run, if it moved the clients
    owed        TEXT NOT NULL DEFAULT '[]'  -- what is owed since this run, as JSON
) STRICT;

-- Two runs on one topology would undo each other's work.
CREATE UNIQUE INDEX one_unfinished_run ON run (topology) WHERE finished_at IS NULL;

CREATE TABLE journal (
    run     TEXT NOT NULL REFERENCES run (id),
    seq     INTEGER NOT NULL,               -- 1, 2, 3 ... without gaps in each run
    at      INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,               -- the fencing token of the driver that wrote it
    event   TEXT NOT NULL,                  -- the name of the event, for people who read the table
    payload TEXT NOT NULL,                  -- the event as JSON
    hash    TEXT NOT NULL,                  -- SHA-256 over the hash before, seq, at and payload
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- One driver per run. A journal append carries the epoch, so a stale driver's append inserts nothing.
CREATE TABLE lease (
    run     TEXT PRIMARY KEY REFERENCES run (id),
    epoch   INTEGER NOT NULL,
    owner   TEXT NOT NULL,                  -- for people: user@host
    host    TEXT NOT NULL,                  -- host name and boot id: a process id means something only there
    pid     INTEGER NOT NULL,
    started TEXT NOT NULL,                  -- start time of the process: a process id is used again
    until   INTEGER NOT NULL                -- 0 when released
) STRICT;

-- Commands that any process may append and only the driver consumes.
CREATE TABLE inbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     TEXT NOT NULL REFERENCES run (id),
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    command TEXT NOT NULL
) STRICT;
