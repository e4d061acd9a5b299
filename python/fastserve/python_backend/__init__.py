"""The worker process of Python models. The server starts `worker.py` as a script, in the model's
interpreter; nothing here imports or is imported by the rest of `fastserve`.
"""
