-- Records how attempts ended, in one statement for any mix of outcomes, as `rules.transition` does. Fenced by `claims`.
-- Rows are locked in the order of ids. Returns what it recorded; the other claims no longer hold. It sees what others
-- commit while it waits for a row, such as a cancel or other fields.
-- Index: the primary key, two lookups for each job, whatever the statistics. It asks for a node instead of the status:
-- a job has one exactly while it is executing, and no index fits that condition, so the planner has no other choice.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
-- Limits the wait for a locked row. A job may have been completed in an application's transaction that is still open,
-- and the other outcomes must not wait for that. `ours` refers to it, so that it is set before rows are locked.
patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', coalesce(%(patience)s::text, current_setting('lock_timeout')), true) AS is_set
),
given AS MATERIALIZED (
    SELECT DISTINCT ON (id, claims) * FROM unnest(
        %(ids)s::bigint[], %(claims)s::bigint[], %(kinds)s::text[], %(delays)s::interval[], %(errors)s::text[],
        %(results)s::text[]
    ) WITH ORDINALITY AS given (id, claims, kind, delay, error, result, place)
    ORDER BY id, claims, place
),
ours AS MATERIALIZED (
    SELECT job.*, given.kind, given.delay, given.error::jsonb AS error, given.result::json AS result
    FROM given CROSS JOIN patience CROSS JOIN LATERAL (
        SELECT held.id, held.attempt, held.max_attempts, held.cancel_reason
        FROM "rexecutor".jobs AS held
        WHERE held.id = given.id AND held.claims = given.claims AND held.node IS NOT NULL
            AND (%(node)s::text IS NULL OR held.node = %(node)s) AND patience.is_set IS NOT NULL
        FOR UPDATE
    ) AS job
),
decided AS (
    SELECT
        ours.id,
        ours.kind,
        ours.delay,
        ours.error,
        ours.result,
        ours.cancel_reason,
        clock.now,
        greatest(ours.attempt - (kind IN ('snooze', 'interrupted', 'expired'))::integer, 0) AS attempt,
        CASE
            WHEN kind = 'complete' THEN 'complete'
            WHEN kind IN ('cancelled', 'expired') OR cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN kind = 'discarded' OR (kind = 'failed' AND attempt >= max_attempts) THEN 'discarded'
            WHEN kind = 'failed' THEN 'retryable'
            ELSE 'scheduled'
        END AS status,
        kind NOT IN ('complete', 'cancelled', 'expired') AND cancel_reason IS NOT NULL AS is_asked
    FROM ours, clock
)
-- By the key, not by ctid. A row that changed while `ours` waited for it has a new version, which this statement's
-- snapshot does not show. By the key, the UPDATE finds the old version, sees that it has changed, and goes on to the
-- new one, which is the locked one. With `=`, the join could be planned as a hash of the whole table; with `ANY` not.
UPDATE "rexecutor".jobs AS job SET
    status = decided.status,
    attempt = decided.attempt,
    node = NULL,
    cancel_reason = NULL,
    -- Clamped, so that a number that someone has corrupted by hand does not stop the settlement of all others.
    snoozes = least(job.snoozes, 2147483646) + (decided.kind = 'snooze')::integer,
    revision = least(job.revision, 9223372036854775806) + (decided.kind <> 'complete')::integer,
    scheduled_at = CASE
        WHEN decided.status <> 'discarded' AND decided.kind IN ('snooze', 'failed')
            THEN (decided.now AT TIME ZONE 'UTC' + decided.delay) AT TIME ZONE 'UTC'  -- elsewhere a day may last 23 h
        ELSE job.scheduled_at
    END,
    errors = CASE
        WHEN decided.kind = 'complete' THEN job.errors
        ELSE "rexecutor".latest(
            job.errors || coalesce(decided.error, '[]') || CASE
                WHEN decided.kind = 'expired' THEN "rexecutor".error(
                    decided.attempt, 'expired', 'Expired', %(expired)s::text, decided.now
                )
                WHEN decided.is_asked THEN "rexecutor".error(
                    decided.attempt, 'cancelled', 'Cancel', decided.cancel_reason, decided.now
                )
                ELSE '[]'
            END,
            %(most_errors)s
        )
    END,
    result = decided.result,
    completed_at = CASE WHEN decided.status = 'complete' THEN decided.now END,
    cancelled_at = CASE WHEN decided.status = 'cancelled' THEN decided.now END,
    discarded_at = CASE WHEN decided.status = 'discarded' THEN decided.now END
FROM decided
WHERE job.id = ANY(ARRAY[decided.id])
RETURNING job.id, job.claims
