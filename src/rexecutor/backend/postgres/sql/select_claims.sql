-- Returns a job's `claims` in the transaction's snapshot (NULL if there is no such job), and the isolation level.
SELECT (SELECT claims FROM "rexecutor".jobs WHERE id = %(id)s), current_setting('transaction_isolation')
