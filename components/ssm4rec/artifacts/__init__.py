"""The files that stages hand to each other: how they are checked when they are read. No torch."""
