"""Optimizers and batch sizes that adapt: the Universal Stochastic Gradient Method and controllers of the batch."""
