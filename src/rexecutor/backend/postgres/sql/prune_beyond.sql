-- Deletes, for each executor, all jobs that ended with `status` except the `kept` that ended last, and returns their
-- number. Deletes the jobs that ended first, at most `limit` in all, and none that is locked. Indexes: ended_by, one
-- step for each executor with such jobs, and for each executor to prune a scan of the log's rows that hold its `kept`
-- newest jobs; the primary key of stored_jobs.
-- include prune_names
-- For each executor with more jobs than are kept: `boundary`, when the oldest job that is kept ended, and `excess`, how
-- many of the jobs that ended at that moment are too many.
ends AS (
    SELECT names.executor, last.ended_at AS boundary, newest.jobs - %(kept)s AS excess
    FROM names CROSS JOIN LATERAL (
        SELECT log.ended_at FROM (
            SELECT ended_at, sum(jobs) OVER (ORDER BY ended_at DESC ROWS UNBOUNDED PRECEDING) AS jobs
            FROM (
                SELECT ended_at, jobs FROM "rexecutor".ended
                WHERE status = %(status)s AND executor = names.executor
                ORDER BY ended_at DESC
                LIMIT %(kept)s + 1  -- each row is of one job at least
            ) AS newest
        ) AS log
        WHERE log.jobs > %(kept)s
        ORDER BY log.ended_at DESC
        LIMIT 1
    ) AS last CROSS JOIN LATERAL (
        SELECT sum(log.jobs) AS jobs FROM "rexecutor".ended AS log
        WHERE log.status = %(status)s AND log.executor = names.executor AND log.ended_at >= last.ended_at
    ) AS newest
    WHERE (names.executor = ANY(%(executors)s)) <> %(is_except)s
),
old AS (
    SELECT
        ends.*, log.*,
        CASE
            WHEN log.ended_at < ends.boundary THEN log.jobs
            WHEN count(*) OVER (PARTITION BY ends.executor, log.ended_at) = 1 THEN ends.excess
            ELSE 0  -- of several rows of that moment, not known yet
        END AS too_many
    FROM ends CROSS JOIN LATERAL (
        SELECT log.ctid AS place, log.ended_at, log.jobs, log.ids FROM "rexecutor".ended AS log
        WHERE log.status = %(status)s AND log.executor = ends.executor AND log.ended_at <= ends.boundary
        ORDER BY log.ended_at
        FETCH FIRST (%(limit)s) ROWS WITH TIES
    ) AS log
),
counted AS (
    SELECT
        old.*,
        sum(too_many) OVER (ORDER BY ended_at) - sum(too_many) OVER (PARTITION BY ended_at) AS older
    FROM old
),
doomed AS MATERIALIZED (
    SELECT place, ended_at, id FROM (
        SELECT
            counted.place, counted.ended_at, counted.boundary, counted.excess, id,
            row_number() OVER (PARTITION BY counted.executor, counted.ended_at ORDER BY id) AS nth
        FROM counted CROSS JOIN LATERAL unnest(counted.ids) AS id
        WHERE counted.older < %(limit)s
    ) AS each
    WHERE ended_at < boundary OR nth <= excess
    ORDER BY ended_at, id
    LIMIT %(limit)s
),
-- include prune_doomed
