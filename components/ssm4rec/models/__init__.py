"""Recommenders, one file each, built from the operators."""
