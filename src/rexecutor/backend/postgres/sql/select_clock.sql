-- Returns the server's time at this moment, not that of the transaction.
SELECT clock_timestamp()
