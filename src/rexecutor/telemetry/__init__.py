"""What the engine tells: events, and the log lines made of them."""
