"""The stage that ranks the catalog for every user."""
