"""How a stage or a study is told what to do: one field is a flag, a KFP parameter and a table's row."""
