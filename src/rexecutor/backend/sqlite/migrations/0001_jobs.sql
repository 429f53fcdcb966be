-- Moments are microseconds since 1970 in UTC; durations too. Lists and objects are JSON texts.

-- The jobs. A row is written once, at the enqueue, and once for each attempt, at its end. A claim does not touch it.
-- `status` is never 'executing': a job executes while it has a row in `rexecutor_running`, which lies over this one. Who
-- reads jobs reads the view `rexecutor_jobs`.
CREATE TABLE rexecutor_stored_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    executor TEXT NOT NULL,
    -- `held`: not used yet, waits for other jobs. Comparisons, because for each row SQLite makes a table of a list in IN.
    status TEXT NOT NULL DEFAULT 'scheduled' CHECK (
        status = 'complete' OR status = 'scheduled' OR status = 'retryable' OR status = 'held'
        OR status = 'cancelled' OR status = 'discarded'
    ),
    data TEXT NOT NULL,
    metadata TEXT,
    -- `attempt`, `claims` and `attempted_at` are those of the last attempt that has ended.
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    priority INTEGER NOT NULL DEFAULT 0 CHECK (priority >= 0),
    tags TEXT NOT NULL DEFAULT '[]',
    errors TEXT NOT NULL DEFAULT '[]',
    claims INTEGER NOT NULL DEFAULT 0 CHECK (claims >= 0),
    snoozes INTEGER NOT NULL DEFAULT 0 CHECK (snoozes >= 0),
    losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0),
    -- The digest of the uniqueness key that the job was enqueued with.
    unique_key TEXT,
    -- How often anything but a claim or a success has changed the job.
    revision INTEGER NOT NULL DEFAULT 0,
    inserted_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attempted_at INTEGER,
    completed_at INTEGER,
    cancelled_at INTEGER,
    discarded_at INTEGER,
    -- A job that has not started by then is cancelled; NULL for never.
    expires_at INTEGER,
    -- What `execute` returned, as JSON text.
    result TEXT,
    -- Not used yet: the flow whose limits the job obeys, its key within that, its group, and for how many jobs it waits.
    flow TEXT,
    lane TEXT,
    group_id INTEGER,
    waits INTEGER,
    ended_at INTEGER GENERATED ALWAYS AS (coalesce(completed_at, cancelled_at, discarded_at)) VIRTUAL
) STRICT;

-- Uniqueness by key.
CREATE INDEX rexecutor_jobs_unique_key ON rexecutor_stored_jobs (unique_key, scheduled_at)
WHERE unique_key IS NOT NULL;

-- The same among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open_key ON rexecutor_stored_jobs (unique_key, scheduled_at)
WHERE unique_key IS NOT NULL AND ended_at IS NULL;

-- Pages of an executor's jobs, in the order of their ids.
CREATE INDEX rexecutor_jobs_executor ON rexecutor_stored_jobs (executor);

-- Uniqueness by executor among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open ON rexecutor_stored_jobs (executor, scheduled_at) WHERE ended_at IS NULL;

-- Uniqueness by executor in a window, ended jobs included.
CREATE INDEX rexecutor_jobs_scheduled ON rexecutor_stored_jobs (executor, scheduled_at);

-- The pruner.
CREATE INDEX rexecutor_jobs_ended ON rexecutor_stored_jobs (status, executor, ended_at) WHERE ended_at IS NOT NULL;

-- Members of a group.
CREATE INDEX rexecutor_jobs_group ON rexecutor_stored_jobs (group_id, id) WHERE group_id IS NOT NULL;

-- The waiting jobs, one narrow row for each: what a claim needs to choose them. A claim deletes the row.
CREATE TABLE rexecutor_queue (
    id INTEGER PRIMARY KEY,
    executor TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    -- 1 once the job's time has come. A stored fact, so that jobs of the future are not in the claim's index.
    due INTEGER NOT NULL CHECK (due = 0 OR due = 1),
    -- The job's own, unless it has started before.
    expires_at INTEGER,
    flow TEXT,
    lane TEXT
) STRICT;

-- The claim: heads of executors, in claim order.
CREATE INDEX rexecutor_queue_due ON rexecutor_queue (executor, priority, scheduled_at, id)
WHERE due = 1 AND flow IS NULL;

-- The promoter, and the time of the next job.
CREATE INDEX rexecutor_queue_later ON rexecutor_queue (scheduled_at) WHERE due = 0;

-- The heartbeat, which cancels expired jobs.
CREATE INDEX rexecutor_queue_expiring ON rexecutor_queue (expires_at) WHERE expires_at IS NOT NULL;

-- Flows: their due jobs, and the order within a lane.
CREATE INDEX rexecutor_queue_flow_due ON rexecutor_queue (executor, flow, lane, priority, scheduled_at, id)
WHERE due = 1 AND flow IS NOT NULL;
CREATE INDEX rexecutor_queue_lane ON rexecutor_queue (flow, lane, id) WHERE flow IS NOT NULL;

-- The executing jobs, one narrow row for each, with what their claim has changed. There are few at any time, so a node's
-- are found without an index.
CREATE TABLE rexecutor_running (
    id INTEGER PRIMARY KEY,
    claims INTEGER NOT NULL,
    attempted_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    node TEXT NOT NULL,
    executor TEXT NOT NULL,
    -- Why the job is to be cancelled; NULL if nobody has asked for that.
    cancel_reason TEXT,
    flow TEXT,
    lane TEXT
) STRICT;
CREATE INDEX rexecutor_running_flow ON rexecutor_running (flow, lane) WHERE flow IS NOT NULL;

-- The jobs as all who ask see them. `due` is NULL unless the job waits.
CREATE VIEW rexecutor_jobs AS
SELECT
    job.id AS id,
    job.executor AS executor,
    CASE WHEN run.id IS NULL THEN job.status ELSE 'executing' END AS status,
    (SELECT waiting.due FROM rexecutor_queue AS waiting WHERE waiting.id = job.id) AS due,
    job.data AS data,
    job.metadata AS metadata,
    coalesce(run.attempt, job.attempt) AS attempt,
    job.max_attempts AS max_attempts,
    job.priority AS priority,
    job.tags AS tags,
    job.errors AS errors,
    coalesce(run.claims, job.claims) AS claims,
    job.snoozes AS snoozes,
    job.losses AS losses,
    run.node AS node,
    run.cancel_reason AS cancel_reason,
    job.unique_key AS unique_key,
    job.revision AS revision,
    job.inserted_at AS inserted_at,
    job.scheduled_at AS scheduled_at,
    coalesce(run.attempted_at, job.attempted_at) AS attempted_at,
    job.completed_at AS completed_at,
    job.cancelled_at AS cancelled_at,
    job.discarded_at AS discarded_at,
    job.ended_at AS ended_at,
    job.expires_at AS expires_at,
    job.result AS result,
    job.flow AS flow,
    job.lane AS lane,
    job.group_id AS group_id,
    job.waits AS waits
FROM rexecutor_stored_jobs AS job LEFT JOIN rexecutor_running AS run ON run.id = job.id;

CREATE TABLE rexecutor_nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- The datagram socket that wakes the node's process; NULL where there is none.
    doorbell TEXT,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    -- How often the node has given up claims whose answer was lost: a claim of an earlier epoch that comes late takes
    -- nothing.
    epoch INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE rexecutor_schedules (
    id TEXT PRIMARY KEY,
    -- Whose jobs it enqueues; NULL for one that enqueues none.
    executor TEXT,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    last_tick INTEGER,
    -- NULL when there is none any more.
    next_tick INTEGER,
    -- Ticks that nodes left out because they had only just begun, for those that were up when they fell: spans.
    left_out TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- Which node does what only one node at a time may do; free when that node has no live lease.
CREATE TABLE rexecutor_duties (
    duty TEXT PRIMARY KEY,
    node TEXT NOT NULL
) STRICT;

-- The tables below are not used yet. They are made now, so that what comes needs no migration that stops workers.

-- Limits and rates that jobs share.
CREATE TABLE rexecutor_flows (
    name TEXT PRIMARY KEY,
    declared TEXT NOT NULL,
    declared_at INTEGER NOT NULL,
    override TEXT,
    -- When the next start would keep to the rate.
    tat INTEGER
) STRICT;

-- The same for single keys: only those with limits of their own or with spent tokens.
CREATE TABLE rexecutor_lanes (
    flow TEXT NOT NULL,
    lane TEXT NOT NULL,
    override TEXT,
    tat INTEGER,
    PRIMARY KEY (flow, lane)
) STRICT;

-- What is not claimed for now: 'executor:x', 'flow:x', 'flow:x/key' or '*'.
CREATE TABLE rexecutor_pauses (
    scope TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    until INTEGER,
    reason TEXT
) STRICT;

-- How far running jobs have come.
CREATE TABLE rexecutor_progress (
    job_id INTEGER PRIMARY KEY,
    claims INTEGER NOT NULL,
    done REAL,
    total REAL,
    note TEXT,
    at INTEGER NOT NULL
) STRICT;

-- What was logged within jobs.
CREATE TABLE rexecutor_job_logs (
    job_id INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    part INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (job_id, claims, part)
) STRICT;

-- Batches and workflows.
CREATE TABLE rexecutor_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    is_workflow INTEGER NOT NULL CHECK (is_workflow IN (0, 1)),
    total INTEGER NOT NULL,
    -- Members that are not yet counted as ended.
    open INTEGER NOT NULL CHECK (open BETWEEN 0 AND total),
    failed INTEGER NOT NULL DEFAULT 0,
    cancel_reason TEXT,
    unique_key TEXT,
    then_id INTEGER,
    failure_id INTEGER,
    finally_id INTEGER,
    inserted_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

CREATE INDEX rexecutor_groups_unique_key ON rexecutor_groups (unique_key)
WHERE unique_key IS NOT NULL AND ended_at IS NULL;

-- Which member of a workflow waits for which.
CREATE TABLE rexecutor_edges (
    group_id INTEGER NOT NULL,
    child INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    even_if_failed INTEGER NOT NULL CHECK (even_if_failed IN (0, 1)),
    place INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT;

CREATE INDEX rexecutor_edges_child ON rexecutor_edges (child, place);

-- Members that ended without being counted: a rescue, a cancel, a completion in the application's transaction.
CREATE TABLE rexecutor_uncounted (
    group_id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    PRIMARY KEY (group_id, job_id)
) STRICT;

-- What jobs have saved for their next attempt.
CREATE TABLE rexecutor_steps (
    job_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    claims INTEGER NOT NULL,
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT;

-- How many jobs ended in a minute, how long they waited and ran: counts by length of time, as JSON lists.
CREATE TABLE rexecutor_stats (
    minute INTEGER NOT NULL,
    executor TEXT NOT NULL,
    outcome TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    wait_ms TEXT NOT NULL,
    run_ms TEXT NOT NULL,
    PRIMARY KEY (minute, executor, outcome)
) STRICT;
