-- Moments are in microseconds since 1970 in UTC, durations in microseconds. Lists and objects are JSON texts.

-- The jobs. A row is written once at the enqueue, and once at the end of each attempt. A claim does not touch it.
-- `status` is never 'executing'. A job executes while it has a row in `rexecutor_running`, whose columns then hold
-- instead of those here. To read jobs, use the view `rexecutor_jobs`.
CREATE TABLE rexecutor_stored_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    executor TEXT NOT NULL,
    -- `held` is not used yet: the job waits for other jobs. The check consists of comparisons, because for each row
    -- SQLite would make a table of the list of an IN.
    status TEXT NOT NULL DEFAULT 'scheduled' CHECK (
        status = 'complete' OR status = 'scheduled' OR status = 'retryable' OR status = 'held'
        OR status = 'cancelled' OR status = 'discarded'
    ),
    data TEXT NOT NULL,
    metadata TEXT,
    -- `attempt`, `claims` and `attempted_at` are as of the end of the last attempt; an attempt that still runs has its
    -- own in `rexecutor_running`.
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
    -- What the application's middleware has sent along with the job: a JSON object of texts; NULL if nothing.
    headers TEXT,
    -- Not used yet: the flow whose limits the job obeys, its key within that flow, its group, and how many jobs it
    -- waits for.
    flow TEXT,
    lane TEXT,
    group_id INTEGER,
    waits INTEGER,
    ended_at INTEGER GENERATED ALWAYS AS (coalesce(completed_at, cancelled_at, discarded_at)) VIRTUAL
) STRICT;

-- Uniqueness by key.
CREATE INDEX rexecutor_jobs_unique_key ON rexecutor_stored_jobs (unique_key, scheduled_at)
WHERE unique_key IS NOT NULL;

-- Uniqueness by key among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open_key ON rexecutor_stored_jobs (unique_key, scheduled_at)
WHERE unique_key IS NOT NULL AND ended_at IS NULL;

-- Pages of an executor's jobs, in the order of their ids.
CREATE INDEX rexecutor_jobs_executor ON rexecutor_stored_jobs (executor);

-- Uniqueness by executor among jobs that have not ended.
CREATE INDEX rexecutor_jobs_open ON rexecutor_stored_jobs (executor, scheduled_at) WHERE ended_at IS NULL;

-- Uniqueness by executor in a window, ended jobs included.
CREATE INDEX rexecutor_jobs_scheduled ON rexecutor_stored_jobs (executor, scheduled_at);

-- Ended jobs of an executor, oldest end first, for the pruner.
CREATE INDEX rexecutor_jobs_ended ON rexecutor_stored_jobs (status, executor, ended_at) WHERE ended_at IS NOT NULL;

-- Members of a group.
CREATE INDEX rexecutor_jobs_group ON rexecutor_stored_jobs (group_id, id) WHERE group_id IS NOT NULL;

-- The waiting jobs. Each has one narrow row, with what a claim needs to choose it. A claim deletes the row.
CREATE TABLE rexecutor_queue (
    id INTEGER PRIMARY KEY,
    executor TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    -- 1 once the job's time has come. It is stored, so that jobs of the future are not in the claim's index.
    due INTEGER NOT NULL CHECK (due = 0 OR due = 1),
    -- The job's expiry; NULL if it has none, or has started before.
    expires_at INTEGER,
    flow TEXT,
    lane TEXT
) STRICT;

-- For claims: the first due jobs of each executor, in claim order.
CREATE INDEX rexecutor_queue_due ON rexecutor_queue (executor, priority, scheduled_at, id)
WHERE due = 1 AND flow IS NULL;

-- For marking jobs as due, and for the time of the next job.
CREATE INDEX rexecutor_queue_later ON rexecutor_queue (scheduled_at) WHERE due = 0;

-- For heartbeats, which cancel expired jobs.
CREATE INDEX rexecutor_queue_expiring ON rexecutor_queue (expires_at) WHERE expires_at IS NOT NULL;

-- For flows, not used yet: their due jobs, and the order within a lane.
CREATE INDEX rexecutor_queue_flow_due ON rexecutor_queue (executor, flow, lane, priority, scheduled_at, id)
WHERE due = 1 AND flow IS NOT NULL;
CREATE INDEX rexecutor_queue_lane ON rexecutor_queue (flow, lane, id) WHERE flow IS NOT NULL;

-- The executing jobs: those that run, and those that wait for a slot of their node. Each has one narrow row, with what
-- its claim has changed. There are few at any time, so those of a node are found without an index.
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

-- The jobs with their true status, for every query. `due` is NULL unless the job waits.
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
    job.headers AS headers,
    job.flow AS flow,
    job.lane AS lane,
    job.group_id AS group_id,
    job.waits AS waits
FROM rexecutor_stored_jobs AS job LEFT JOIN rexecutor_running AS run ON run.id = job.id;

CREATE TABLE rexecutor_nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- Address of the datagram socket that wakes the node's process; NULL if there is none.
    doorbell TEXT,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    -- How often the node has given up claims whose response was lost. A claim of an earlier epoch that comes late takes
    -- no job.
    epoch INTEGER NOT NULL DEFAULT 0,
    -- When its last heartbeat came.
    renewed_at INTEGER,
    -- What it said of itself in that, for people, as JSON: its host, process, version, slots, running jobs and the lag of
    -- its loop.
    state TEXT,
    -- The executors whose jobs it runs, as JSON: name → how many at a time, or null if only its slots limit them.
    -- Heartbeats leave it as it is, because it is long and does not change.
    executors TEXT
) STRICT;

CREATE TABLE rexecutor_schedules (
    id TEXT PRIMARY KEY,
    -- Whose jobs it enqueues; NULL for one that enqueues none.
    executor TEXT,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    last_tick INTEGER,
    -- NULL if there is none any more.
    next_tick INTEGER,
    -- Spans in JSON, with ticks that nodes left out because they had only just started. Nodes that were up at these
    -- ticks take them.
    left_out TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- Locks: which node does what only one node at a time may do. A lock is free if its node has no live lease.
CREATE TABLE rexecutor_duties (
    duty TEXT PRIMARY KEY,
    node TEXT NOT NULL
) STRICT;

-- The history of attempts: how many ended in a minute or an hour, and how long their jobs had waited and how long they
-- ran, as JSON lists with the number of attempts in each bucket.
CREATE TABLE rexecutor_stats (
    -- 1 for a row of a minute, 60 for a row of an hour.
    minutes INTEGER NOT NULL,
    -- When the minute or hour began.
    moment INTEGER NOT NULL,
    executor TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    waits TEXT NOT NULL,
    runs TEXT NOT NULL,
    PRIMARY KEY (minutes, moment, executor, outcome)
) STRICT, WITHOUT ROWID;

-- What does not start until it is resumed: 'executor:x', or '*' for all jobs; later also 'flow:x' and 'flow:x/key'.
CREATE TABLE rexecutor_pauses (
    scope TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    -- When it is over by itself; NULL if it is not.
    until INTEGER,
    reason TEXT
) STRICT;

-- The tables below are not used yet. They are created now, so that what comes next needs no breaking migration.

-- Limits that hold for all nodes together: as the code declares them, as an operator overrides them, and how far the
-- tokens of a rate are spent.
CREATE TABLE rexecutor_flows (
    name TEXT PRIMARY KEY,
    declared TEXT NOT NULL,
    declared_at INTEGER NOT NULL,
    override TEXT,
    -- When the next job may start without exceeding the rate.
    tat INTEGER
) STRICT;

-- Those keys of flows that have an override or spent tokens.
CREATE TABLE rexecutor_lanes (
    flow TEXT NOT NULL,
    lane TEXT NOT NULL,
    override TEXT,
    tat INTEGER,
    PRIMARY KEY (flow, lane)
) STRICT;

-- The progress that running jobs have reported, under their claims.
CREATE TABLE rexecutor_progress (
    job_id INTEGER PRIMARY KEY,
    claims INTEGER NOT NULL,
    done REAL,
    total REAL,
    note TEXT,
    at INTEGER NOT NULL
) STRICT;

-- What was logged within jobs, one row for each flush.
CREATE TABLE rexecutor_job_logs (
    job_id INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    part INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (job_id, claims, part)
) STRICT;

-- Batches and workflows. `then_id`, `failure_id` and `finally_id` are jobs that wait for the group.
CREATE TABLE rexecutor_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    is_workflow INTEGER NOT NULL CHECK (is_workflow IN (0, 1)),
    total INTEGER NOT NULL,
    -- Number of members that have not been counted as ended.
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

-- Which job of a workflow waits for which other one.
CREATE TABLE rexecutor_edges (
    group_id INTEGER NOT NULL,
    child INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    even_if_failed INTEGER NOT NULL CHECK (even_if_failed IN (0, 1)),
    place INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT;

CREATE INDEX rexecutor_edges_child ON rexecutor_edges (child, place);

-- Members that ended without being counted: by a rescue, a cancel or `complete_in`.
CREATE TABLE rexecutor_uncounted (
    group_id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    PRIMARY KEY (group_id, job_id)
) STRICT;

-- What the steps of a job have stored.
CREATE TABLE rexecutor_steps (
    job_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    claims INTEGER NOT NULL,
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT;
