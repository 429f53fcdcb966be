"""Django's migrations: one for each of the store's own."""
