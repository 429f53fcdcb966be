-- Answers how often a job had been claimed by the moment of the transaction's snapshot, and the isolation level.
SELECT (SELECT claims FROM "rexecutor".jobs WHERE id = %(id)s), current_setting('transaction_isolation')
