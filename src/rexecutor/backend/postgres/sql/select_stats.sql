-- Returns the rows of the history since a moment. Index: the primary key. The limit is none, but the planner does not
-- know that. So it reads each kind of rows in the order of the index, from the moment on, and not the whole table.
SELECT
    kept.minutes, kept.moment, kept.executor, kept.outcome, kept.attempts, array_to_json(kept.waits)::text,
    array_to_json(kept.runs)::text
FROM unnest(ARRAY[1, 60]) AS kind (minutes)
CROSS JOIN LATERAL (
    SELECT * FROM "rexecutor".stats AS each
    WHERE each.minutes = kind.minutes AND each.moment >= %(since)s
    ORDER BY each.moment, each.executor, each.outcome
    LIMIT (SELECT NULL::bigint)
) AS kept
ORDER BY kept.moment, kept.executor COLLATE "C", kept.outcome COLLATE "C", kept.minutes
