-- Cancels those of the jobs that wait and match, and asks for the cancel of those that execute, as `rules.transition`
-- does. `lock_places` has locked their rows of `queue` and `running` in the same transaction. The condition comes from
-- `compile_where`. Returns the new status and the executor of each, in order of id. Indexes: the primary keys.
WITH matching AS MATERIALIZED (
    SELECT job.* FROM unnest(%(ids)s::bigint[]) AS wanted (id) CROSS JOIN LATERAL (
        -- The limit keeps the planner from reading the whole table.
        SELECT id, executor, node, cancel_reason
        FROM "rexecutor".jobs WHERE id = wanted.id AND /* where */ LIMIT 1
    ) AS job
),
dequeued AS (
    DELETE FROM "rexecutor".queue WHERE id = ANY(ARRAY(SELECT id FROM matching)) RETURNING id
),
asked AS (
    UPDATE "rexecutor".running SET cancel_reason = %(reason)s
    WHERE id = ANY(ARRAY(SELECT id FROM matching WHERE node IS NOT NULL)) AND cancel_reason IS NULL
    RETURNING id
),
revised AS (
    UPDATE "rexecutor".stored_jobs SET revision = least(revision, 9223372036854775806) + 1
    WHERE id = ANY(ARRAY(SELECT id FROM asked))
),
cancelled AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = 'cancelled',
        errors = "rexecutor".latest(
            errors || "rexecutor".error(
                attempt, 'cancelled', 'Cancel', %(reason)s::text, coalesce(%(now)s::timestamptz, now())
            ),
            %(most_errors)s
        ),
        cancelled_at = coalesce(%(now)s::timestamptz, now())
    -- A job in the queue may have ended if somebody has changed it by hand.
    WHERE id = ANY(ARRAY(SELECT id FROM dequeued)) AND coalesce(completed_at, cancelled_at, discarded_at) IS NULL
    RETURNING id, coalesce(executor, '') AS executor, cancelled_at
),
logged AS (
    INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
    SELECT executor, 'cancelled', cancelled_at, array_agg(id ORDER BY id) FROM cancelled GROUP BY executor, cancelled_at
)
SELECT id, 'cancelled' AS status, executor FROM cancelled
UNION ALL
SELECT id, 'executing', executor FROM matching
WHERE node IS NOT NULL AND (cancel_reason IS NOT NULL OR id IN (SELECT id FROM asked))
ORDER BY id
