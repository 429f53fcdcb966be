"""Events of the engine, and the log lines made from them."""
