-- Records how attempts ended, in one statement for any mix of outcomes: the twin of `rules.transition`. Fenced by
-- claims, rows locked in the order of ids. Answers what it recorded; the rest is no longer ours. What others commit
-- while it waits for a row counts: a cancel, other fields. Index: the primary key, two lookups a job whatever the
-- statistics say: a job has a node while it is executing, which no index holds.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
-- How long it waits for a row that somebody has locked. What a job wrote may be in a transaction that is still open,
-- and the other outcomes are not to wait for it. Asked for in `ours`, so that it is set by then.
patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', coalesce(%(patience)s::text, current_setting('lock_timeout')), true) AS is_set
),
given AS MATERIALIZED (
    SELECT DISTINCT ON (id, claims) * FROM unnest(
        %(ids)s::bigint[], %(claims)s::bigint[], %(kinds)s::text[], %(delays)s::interval[], %(errors)s::text[]
    ) WITH ORDINALITY AS given (id, claims, kind, delay, error, place)
    ORDER BY id, claims, place
),
ours AS MATERIALIZED (
    SELECT job.*, given.kind, given.delay, given.error::jsonb AS error
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
        ours.cancel_reason,
        clock.now,
        greatest(ours.attempt - (kind IN ('snooze', 'interrupted'))::integer, 0) AS attempt,
        CASE
            WHEN kind = 'complete' THEN 'complete'
            WHEN kind = 'cancelled' OR cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN kind = 'failed' AND attempt >= max_attempts THEN 'discarded'
            WHEN kind = 'failed' THEN 'retryable'
            ELSE 'scheduled'
        END AS status,
        kind NOT IN ('complete', 'cancelled') AND cancel_reason IS NOT NULL AS is_asked
    FROM ours, clock
)
-- By the key, not by ctid: a row that was changed while it was waited for is a new version, which this statement's
-- snapshot does not show. By the key the UPDATE finds the version that the snapshot shows, sees that it has been changed,
-- and goes on to the new one, which is the one that is locked. A join by `=` could be planned as a hash of the
-- whole table; one by `ANY` cannot.
UPDATE "rexecutor".jobs AS job SET
    status = decided.status,
    attempt = decided.attempt,
    node = NULL,
    cancel_reason = NULL,
    -- No number that somebody has spoilt stops the settlement of all others.
    snoozes = least(job.snoozes, 2147483646) + (decided.kind = 'snooze')::integer,
    revision = least(job.revision, 9223372036854775806) + (decided.kind <> 'complete')::integer,
    scheduled_at = CASE
        WHEN decided.status <> 'discarded' AND decided.kind IN ('snooze', 'failed') THEN decided.now + decided.delay
        ELSE job.scheduled_at
    END,
    errors = CASE
        WHEN decided.kind = 'complete' THEN job.errors
        ELSE "rexecutor".latest(
            job.errors || coalesce(decided.error, '[]') || CASE WHEN decided.is_asked THEN "rexecutor".error(
                decided.attempt, 'cancelled', 'Cancel', decided.cancel_reason, decided.now
            ) ELSE '[]' END,
            %(most_errors)s
        )
    END,
    completed_at = CASE WHEN decided.status = 'complete' THEN decided.now END,
    cancelled_at = CASE WHEN decided.status = 'cancelled' THEN decided.now END,
    discarded_at = CASE WHEN decided.status = 'discarded' THEN decided.now END
FROM decided
WHERE job.id = ANY(ARRAY[decided.id])
RETURNING job.id, job.claims
