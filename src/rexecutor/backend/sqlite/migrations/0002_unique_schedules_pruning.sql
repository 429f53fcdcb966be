-- The digest of the uniqueness key that the job was enqueued with.
ALTER TABLE rexecutor_jobs ADD COLUMN unique_key TEXT;

-- How often anything but a claim or an end has changed the job.
ALTER TABLE rexecutor_jobs ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

ALTER TABLE rexecutor_jobs ADD COLUMN ended_at INTEGER
GENERATED ALWAYS AS (coalesce(completed_at, cancelled_at, discarded_at)) VIRTUAL;

-- Uniqueness by key.
CREATE INDEX rexecutor_jobs_unique_key ON rexecutor_jobs (unique_key, scheduled_at) WHERE unique_key IS NOT NULL;

-- The same among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open_key ON rexecutor_jobs (unique_key, scheduled_at)
WHERE unique_key IS NOT NULL AND ended_at IS NULL;

-- Pages of an executor's jobs, in the order of their ids.
CREATE INDEX rexecutor_jobs_executor ON rexecutor_jobs (executor);

-- Uniqueness by executor among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open ON rexecutor_jobs (executor, scheduled_at) WHERE ended_at IS NULL;

-- Uniqueness by executor in a window, ended jobs included.
CREATE INDEX rexecutor_jobs_scheduled ON rexecutor_jobs (executor, scheduled_at);

-- The pruner.
CREATE INDEX rexecutor_jobs_ended ON rexecutor_jobs (status, executor, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE rexecutor_schedules (
    id TEXT PRIMARY KEY,
    -- Whose jobs it enqueues; NULL for one that enqueues none.
    executor TEXT,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    last_tick INTEGER,
    -- NULL when there is none any more.
    next_tick INTEGER
) STRICT;

-- Which node does what only one node at a time may do; free when that node has no live lease.
CREATE TABLE rexecutor_duties (
    duty TEXT PRIMARY KEY,
    node TEXT NOT NULL
) STRICT;
