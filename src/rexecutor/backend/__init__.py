"""Where jobs are kept: the port (`base`), and one adapter a store."""
