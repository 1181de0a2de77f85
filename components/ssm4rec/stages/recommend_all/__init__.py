"""The stage that writes every user's recommendations."""
