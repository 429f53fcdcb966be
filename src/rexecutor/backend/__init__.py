"""The port (`base`) and one backend for each kind of store."""
