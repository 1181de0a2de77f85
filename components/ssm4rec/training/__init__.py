"""Losses, the training loop, checkpoints, and the model folder."""
