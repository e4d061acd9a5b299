"""Programs that come with the server: the load generator."""
