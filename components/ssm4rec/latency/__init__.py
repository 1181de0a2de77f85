"""The latency protocol: timed samples of users, interleaved models, intervals, and cost against history length."""
