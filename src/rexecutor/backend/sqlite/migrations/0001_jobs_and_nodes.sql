-- Moments are microseconds since 1970 in UTC; durations too.
CREATE TABLE rexecutor_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    executor TEXT NOT NULL,
    status TEXT NOT NULL CHECK (
        status IN ('scheduled', 'executing', 'complete', 'retryable', 'cancelled', 'discarded')
    ),
    data TEXT NOT NULL,
    metadata TEXT,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    priority INTEGER NOT NULL DEFAULT 0 CHECK (priority >= 0),
    tags TEXT NOT NULL DEFAULT '[]',
    errors TEXT NOT NULL DEFAULT '[]',
    claims INTEGER NOT NULL DEFAULT 0 CHECK (claims >= 0),
    snoozes INTEGER NOT NULL DEFAULT 0 CHECK (snoozes >= 0),
    losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0),
    node TEXT,
    cancel_reason TEXT,
    inserted_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attempted_at INTEGER,
    completed_at INTEGER,
    cancelled_at INTEGER,
    discarded_at INTEGER,
    -- 1 while the job may be claimed: it waits and its time has come. A stored fact, so that jobs of the future
    -- are not in the claim's index.
    due INTEGER NOT NULL DEFAULT 0 CHECK (due IN (0, 1)),
    CHECK ((status = 'executing') = (node IS NOT NULL)),
    CHECK (due = 0 OR status = 'scheduled' OR status = 'retryable')
) STRICT;

-- The claim: heads of executors, in claim order.
CREATE INDEX rexecutor_jobs_due ON rexecutor_jobs (executor, priority, scheduled_at, id) WHERE due = 1;

-- The promoter, and the time of the next job.
CREATE INDEX rexecutor_jobs_later ON rexecutor_jobs (scheduled_at)
WHERE due = 0 AND status IN ('scheduled', 'retryable');

-- Rescue, cancels of running jobs, and what a node gives back.
CREATE INDEX rexecutor_jobs_running ON rexecutor_jobs (node) WHERE status = 'executing';

CREATE TABLE rexecutor_nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- The datagram socket that wakes the node's process; NULL where there is none.
    doorbell TEXT,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;
