"""One module a system: `ours`, `bare_…` and `peer_…`. Each runs in the environment of its system."""
