"""The stage that takes the best of an optimizer sweep on to the comparison."""
