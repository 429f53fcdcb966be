"""A shop: orders are stored by the web application, and charged by a worker."""
