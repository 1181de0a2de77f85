"""How the stages are arranged: the DAGs, their compilation, and where they run."""
