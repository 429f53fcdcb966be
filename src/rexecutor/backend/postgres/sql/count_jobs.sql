-- Counts all jobs; reads the whole table.
SELECT executor COLLATE "C", status, count(*) FROM "rexecutor".jobs GROUP BY 1, 2 ORDER BY 1, 2
