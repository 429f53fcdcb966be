"""`make bench` compares rexecutor with the bare drivers, in one run."""
