-- Deletes, for each executor, all jobs but those that ended last, the longest ended first. Index: jobs_ended.
DELETE FROM "rexecutor".jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".jobs WHERE id = ANY(ARRAY(
        SELECT ranked.id FROM (
            SELECT id, ended_at, row_number() OVER (PARTITION BY executor ORDER BY ended_at DESC, id DESC) AS place
            FROM "rexecutor".jobs
            WHERE status = %(status)s AND ended_at IS NOT NULL AND (executor = ANY(%(executors)s)) <> %(is_except)s
        ) AS ranked
        WHERE ranked.place > %(kept)s
        ORDER BY ranked.ended_at, ranked.id
        LIMIT %(most)s
    ))
    FOR UPDATE SKIP LOCKED
))
