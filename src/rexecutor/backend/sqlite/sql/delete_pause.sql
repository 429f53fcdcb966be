-- Ends a pause. Returns a row if there was one, which says whether it was in force. (SQLite 3.40 answers `until IS NULL`
-- with 0 here.)
DELETE FROM rexecutor_pauses WHERE scope = :scope RETURNING coalesce(until > :now, 1)
