-- Changes fields of those of the jobs that have not ended and match, as `rules.changed` does; a field stays if its
-- parameter is NULL. `lock_places` has locked their rows of `queue` and `running` in the same transaction. The condition
-- comes from `compile_where`. The row of a job in `queue` is always written anew, and not marked as due: the next claim
-- does that. Returns the status and the executor of each, in order of id. Indexes: the primary keys.
WITH matching AS MATERIALIZED (
    SELECT job.* FROM unnest(%(ids)s::bigint[]) AS wanted (id) CROSS JOIN LATERAL (
        -- The limit keeps the planner from reading the whole table.
        SELECT id, status, due
        FROM "rexecutor".jobs WHERE id = wanted.id AND /* where */ LIMIT 1
    ) AS job
),
updated AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        data = coalesce(%(data)s::json, data),
        metadata = CASE WHEN %(sets_metadata)s::boolean THEN %(metadata)s::json ELSE metadata END,
        max_attempts = coalesce(%(max_attempts)s::integer, max_attempts),
        priority = coalesce(%(priority)s::integer, priority),
        tags = coalesce(%(tags)s::text[], tags),
        scheduled_at = coalesce(%(scheduled_at)s::timestamptz, scheduled_at),
        revision = least(revision, 9223372036854775806) + 1
    WHERE id = ANY(ARRAY(SELECT id FROM matching)) AND coalesce(completed_at, cancelled_at, discarded_at) IS NULL
    RETURNING id, coalesce(executor, '') AS executor, scheduled_at, priority, flow, lane
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, flow, lane)
    SELECT id, executor, coalesce(scheduled_at, now()), priority, false, flow, lane FROM updated
    WHERE id IN (SELECT id FROM matching WHERE due IS NOT NULL)
    ON CONFLICT (id) DO UPDATE SET
        scheduled_at = excluded.scheduled_at, priority = excluded.priority, due = false
)
SELECT updated.id, matching.status, updated.executor FROM updated JOIN matching ON matching.id = updated.id
ORDER BY updated.id
