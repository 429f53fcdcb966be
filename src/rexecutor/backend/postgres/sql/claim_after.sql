-- The end of a claim. It begins within the query that chooses the first jobs of each executor, takes the first `limit`
-- of all these, starts them and returns them.
        WHERE EXISTS (SELECT FROM alive)
            AND NOT ARRAY['*', 'executor:' || demand.executor] && ARRAY(
                SELECT scope FROM "rexecutor".pauses WHERE until IS NULL OR until > (SELECT now FROM clock)
            )
        ORDER BY heads.priority, heads.scheduled_at, heads.id
        LIMIT %(limit)s
    ))
    RETURNING id, executor
),
claimed AS MATERIALIZED (
    SELECT
        job.id, picked.executor, data, metadata,
        -- Clamped, so that a number that someone has corrupted by hand does not stop the claim of all others.
        greatest(least(attempt, 2147483646), 0) + 1 AS attempt,
        max_attempts, priority, tags, errors,
        greatest(least(claims, 9223372036854775806), 0) + 1 AS claims,
        snoozes, losses, unique_key, revision, inserted_at, scheduled_at,
        (SELECT clock.now FROM clock) AS attempted_at, expires_at, headers
    -- As in `settle_complete`.
    FROM picked JOIN "rexecutor".stored_jobs AS job ON job.id = ANY(ARRAY[picked.id])
),
started AS (
    INSERT INTO "rexecutor".running (id, claims, attempted_at, attempt, node, executor)
    SELECT id, claims, attempted_at, attempt, %(node)s, executor FROM claimed
)
-- Columns that most jobs leave at their default return NULL for it, which costs next to nothing to send and to read. If
-- somebody has written NULL into `tags` or `inserted_at` by hand, they return a value that cannot be read, so that the
-- job has a defect.
SELECT
    later.due_in, later.is_past, id, executor, data::text, metadata::text, attempt, max_attempts,
    nullif(priority, 0), nullif(coalesce(tags, '{NULL}'), '{}'), nullif(errors, '[]')::text, claims, nullif(snoozes, 0), nullif(losses, 0),
    unique_key, nullif(revision, 0),
    nullif(coalesce(inserted_at, 'infinity'), scheduled_at), scheduled_at, attempted_at, expires_at,
    headers::text
FROM later LEFT JOIN claimed ON true
ORDER BY priority, scheduled_at, id
