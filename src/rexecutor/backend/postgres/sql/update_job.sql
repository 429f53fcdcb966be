-- Writes back a record that `rules` changed. Its rows were read and locked in the same transaction. Moves the job to
-- where it stands now: a job that waits has a row in `queue`, which is always written anew; a job that executes has a
-- row in `running`; a job that has ended stands in the log. In `queue`, the job is not marked as due: the next claim
-- does that.
WITH before AS MATERIALIZED (
    SELECT
        executor, status, coalesce(completed_at, cancelled_at, discarded_at) AS ended_at,
        status IN ('complete', 'cancelled', 'discarded') AS had_ended,
        %(status)s::text IN ('complete', 'cancelled', 'discarded') AS has_ended,
        %(status)s::text IN ('scheduled', 'retryable') AS waits,
        %(status)s::text = 'executing' AS executes
    FROM "rexecutor".stored_jobs WHERE id = %(id)s
),
asked AS (
    UPDATE "rexecutor".running SET cancel_reason = %(cancel_reason)s FROM before
    WHERE id = %(id)s AND executes AND cancel_reason IS DISTINCT FROM %(cancel_reason)s
),
run AS (
    DELETE FROM "rexecutor".running USING before WHERE id = %(id)s AND NOT executes RETURNING claims, attempted_at
),
dequeued AS (
    DELETE FROM "rexecutor".queue USING before WHERE id = %(id)s AND NOT waits
),
unlogged AS (
    UPDATE "rexecutor".ended AS log SET ids = array_remove(ids, %(id)s::bigint) FROM before
    WHERE had_ended AND NOT has_ended AND log.status = before.status AND log.executor = before.executor
        AND log.ended_at = before.ended_at AND ids @> ARRAY[%(id)s::bigint] AND log.jobs > 1
),
forgotten AS (
    DELETE FROM "rexecutor".ended AS log USING before
    WHERE had_ended AND NOT has_ended AND log.status = before.status AND log.executor = before.executor
        AND log.ended_at = before.ended_at AND ids = ARRAY[%(id)s::bigint]
),
changed AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = CASE WHEN executes THEN job.status ELSE %(status)s::text END,
        data = %(data)s::json,
        metadata = %(metadata)s::json,
        attempt = CASE WHEN executes THEN job.attempt ELSE %(attempt)s END,
        claims = greatest((SELECT run.claims FROM run), job.claims),
        attempted_at = coalesce((SELECT run.attempted_at FROM run), job.attempted_at),
        max_attempts = %(max_attempts)s,
        priority = %(priority)s,
        tags = %(tags)s,
        errors = %(errors)s::jsonb,
        snoozes = %(snoozes)s,
        losses = %(losses)s,
        revision = %(revision)s,
        scheduled_at = %(scheduled_at)s::timestamptz,
        completed_at = %(completed_at)s::timestamptz,
        cancelled_at = %(cancelled_at)s::timestamptz,
        discarded_at = %(discarded_at)s::timestamptz,
        expires_at = %(expires_at)s::timestamptz,
        -- The record was read without its result.
        result = CASE WHEN %(status)s::text = 'complete' THEN job.result END
    FROM before
    WHERE job.id = %(id)s
    RETURNING
        job.id, coalesce(job.executor, '') AS executor, job.status, job.scheduled_at, job.priority, job.flow, job.lane,
        CASE WHEN job.attempt = 0 AND job.snoozes = 0 THEN job.expires_at END AS expires_at,
        coalesce(job.completed_at, job.cancelled_at, job.discarded_at) AS ended_at
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, expires_at, flow, lane)
    SELECT id, changed.executor, scheduled_at, priority, false, expires_at, flow, lane FROM changed, before WHERE waits
    ON CONFLICT (id) DO UPDATE SET
        executor = excluded.executor, scheduled_at = excluded.scheduled_at, priority = excluded.priority, due = false,
        expires_at = excluded.expires_at, flow = excluded.flow, lane = excluded.lane
)
INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
SELECT changed.executor, changed.status, changed.ended_at, ARRAY[id] FROM changed, before
WHERE has_ended AND NOT had_ended
