"""What a worker process runs; see docs/design/005-python-backend.md."""
