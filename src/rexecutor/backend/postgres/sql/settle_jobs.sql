-- Records how attempts ended, in one statement for any mix of outcomes: the twin of `rules.transition`. Fenced by
-- status and claims, rows locked in the order of ids. Answers what it recorded; the rest is no longer ours.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
given AS MATERIALIZED (
    SELECT DISTINCT ON (id, claims) * FROM unnest(
        %(ids)s::bigint[], %(claims)s::bigint[], %(kinds)s::text[], %(delays)s::interval[], %(errors)s::text[]
    ) WITH ORDINALITY AS given (id, claims, kind, delay, error, place)
    ORDER BY id, claims, place
),
ours AS MATERIALIZED (
    SELECT job.id, given.kind, given.delay, given.error::jsonb AS error
    FROM "rexecutor".jobs AS job JOIN given ON given.id = job.id AND given.claims = job.claims
    WHERE job.status = 'executing'
    ORDER BY job.id
    FOR UPDATE OF job
),
read AS (
    SELECT
        ours.*,
        job.cancel_reason,
        job.max_attempts,
        job.scheduled_at,
        job.errors || coalesce(ours.error, '[]'::jsonb) AS errors,
        job.attempt - (ours.kind IN ('snooze', 'interrupted'))::integer AS attempt
    FROM ours JOIN "rexecutor".jobs AS job ON job.id = ours.id
),
decided AS (
    SELECT
        read.*,
        clock.now,
        CASE
            WHEN kind = 'complete' THEN 'complete'
            WHEN kind = 'cancelled' OR cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN kind = 'failed' AND attempt >= max_attempts THEN 'discarded'
            WHEN kind = 'failed' THEN 'retryable'
            ELSE 'scheduled'
        END AS status,
        kind NOT IN ('complete', 'cancelled') AND cancel_reason IS NOT NULL AS is_asked
    FROM read, clock
)
UPDATE "rexecutor".jobs AS job SET
    status = decided.status,
    attempt = decided.attempt,
    node = NULL,
    cancel_reason = NULL,
    snoozes = job.snoozes + (decided.kind = 'snooze')::integer,
    revision = job.revision + (decided.kind <> 'complete')::integer,
    scheduled_at = CASE
        WHEN decided.status <> 'discarded' AND decided.kind IN ('snooze', 'failed') THEN decided.now + decided.delay
        ELSE job.scheduled_at
    END,
    errors = CASE
        WHEN decided.kind = 'complete' THEN job.errors
        ELSE "rexecutor".latest(
            decided.errors || CASE WHEN decided.is_asked THEN "rexecutor".error(
                decided.attempt, 'cancelled', 'Cancel', decided.cancel_reason, decided.now
            ) ELSE '[]'::jsonb END,
            %(most_errors)s
        )
    END,
    completed_at = CASE WHEN decided.status = 'complete' THEN decided.now END,
    cancelled_at = CASE WHEN decided.status = 'cancelled' THEN decided.now END,
    discarded_at = CASE WHEN decided.status = 'discarded' THEN decided.now END
FROM decided
WHERE job.id = decided.id
RETURNING job.id, job.claims
