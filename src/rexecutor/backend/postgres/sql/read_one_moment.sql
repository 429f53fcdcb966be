-- Lets the transaction see the data as of one moment. The first statement of a transaction.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
