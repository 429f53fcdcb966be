-- Records how attempts ended, in one statement for any mix of outcomes, as `rules.transition` does. Fenced by `claims`.
-- The given ids must be in ascending order, no two the same. Returns id and claim of each outcome that it recorded; the
-- other claims no longer hold. Rows are found and locked as in `settle_complete`. Indexes: the primary keys of
-- `running` and `stored_jobs`.
WITH given AS MATERIALIZED (
    SELECT
        %(ids)s::bigint[] AS ids,
        %(claims)s::bigint[] AS claims,
        %(kinds)s::text[] AS kinds,
        %(delays)s::interval[] AS delays,
        %(errors)s::text[] AS errors,
        %(results)s::text[] AS results,
        coalesce(%(now)s::timestamptz, now()) AS now,
        set_config('lock_timeout', coalesce(%(patience)s::text, current_setting('lock_timeout')), true) AS patience
),
gone AS (
    DELETE FROM "rexecutor".running AS run
    WHERE (SELECT patience FROM given) IS NOT NULL
        AND run.id = ANY((SELECT ids FROM given)::bigint[])
        AND run.claims = (SELECT claims FROM given)[width_bucket(run.id, (SELECT ids FROM given))]
        AND (%(node)s::text IS NULL OR run.node = %(node)s)
    RETURNING run.*
),
outcomes AS (
    SELECT
        gone.*, given.now, given.kinds[place] AS kind, given.delays[place] AS delay,
        given.errors[place]::jsonb AS error, given.results[place]::json AS result
    FROM gone, given, LATERAL width_bucket(gone.id, given.ids) AS place
),
ours AS (
    SELECT
        outcomes.*,
        greatest(attempt - (kind IN ('snooze', 'interrupted', 'expired'))::integer, 0) AS left_attempt,
        kind NOT IN ('complete', 'cancelled', 'expired') AND cancel_reason IS NOT NULL AS is_asked,
        CASE
            WHEN kind = 'complete' THEN 'complete'
            WHEN kind IN ('cancelled', 'expired') OR cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN kind = 'discarded' THEN 'discarded'
            WHEN kind = 'failed' THEN 'retryable'
            ELSE 'scheduled'
        END AS status
    FROM outcomes
),
done AS (
    -- What depends on `max_attempts` is decided here, where the job's row is the newest.
    UPDATE "rexecutor".stored_jobs AS job SET
        status = CASE
            WHEN ours.status = 'retryable' AND ours.attempt >= job.max_attempts THEN 'discarded' ELSE ours.status
        END,
        attempt = ours.left_attempt,
        claims = greatest(ours.claims, job.claims),  -- as in `settle_complete`
        attempted_at = ours.attempted_at,
        -- Clamped, so that a number that someone has corrupted by hand does not stop the settlement of all others.
        snoozes = least(job.snoozes, 2147483646) + (ours.kind = 'snooze')::integer,
        revision = least(job.revision, 9223372036854775806) + (ours.kind <> 'complete')::integer,
        scheduled_at = CASE
            WHEN ours.kind = 'snooze'
                OR ours.kind = 'failed' AND (ours.cancel_reason IS NOT NULL OR ours.attempt < job.max_attempts)
            -- The delay is added in UTC. In other time zones a day may have 23 or 25 hours.
            THEN (ours.now AT TIME ZONE 'UTC' + ours.delay) AT TIME ZONE 'UTC'
            ELSE job.scheduled_at
        END,
        errors = CASE
            WHEN ours.kind = 'complete' THEN job.errors
            ELSE "rexecutor".latest(
                job.errors || coalesce(ours.error, '[]') || CASE
                    WHEN ours.kind = 'expired' THEN "rexecutor".error(
                        ours.left_attempt, 'expired', 'Expired', %(expired)s::text, ours.now
                    )
                    WHEN ours.is_asked THEN "rexecutor".error(
                        ours.left_attempt, 'cancelled', 'Cancel', ours.cancel_reason, ours.now
                    )
                    ELSE '[]'
                END,
                %(most_errors)s
            )
        END,
        result = ours.result,
        completed_at = CASE WHEN ours.status = 'complete' THEN ours.now END,
        cancelled_at = CASE WHEN ours.status = 'cancelled' THEN ours.now END,
        discarded_at = CASE
            WHEN ours.status = 'discarded' OR ours.status = 'retryable' AND ours.attempt >= job.max_attempts
            THEN ours.now
        END
    FROM ours
    WHERE job.id = ANY(ARRAY[ours.id])
    RETURNING
        job.id, ours.claims, job.status, job.priority, job.scheduled_at, ours.executor, ours.flow, ours.lane, ours.now,
        CASE WHEN job.attempt = 0 AND job.snoozes = 0 THEN job.expires_at END AS expires_at
),
waiting AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, expires_at, flow, lane)
    SELECT
        id, executor, coalesce(scheduled_at, now), priority, coalesce(scheduled_at <= now, true), expires_at, flow, lane
    FROM done
    WHERE status IN ('scheduled', 'retryable')
    ON CONFLICT (id) DO NOTHING  -- somebody may have put it there by hand
),
logged AS (
    INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
    SELECT executor, status, now, array_agg(id ORDER BY id) FROM done
    WHERE status IN ('complete', 'cancelled', 'discarded')
    GROUP BY executor, status, now
)
SELECT id, claims FROM done
