-- Deletes jobs that ended before a moment, the longest ended first, and none that somebody has locked.
-- Index: jobs_ended.
DELETE FROM "rexecutor".jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".jobs
    WHERE status = %(status)s AND ended_at IS NOT NULL
        AND ended_at < coalesce(%(now)s::timestamptz, now()) - %(age)s::interval
        AND (executor = ANY(%(executors)s)) <> %(is_except)s
    ORDER BY ended_at, id
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
))
