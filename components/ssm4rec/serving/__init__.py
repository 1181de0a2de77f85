"""Answers for a platform, one event in and K items out: by a whole history, or by a user whose state is stored.

A server's core without the server: no network, no MLflow, no pandas; see README.md for what is exact.
"""
