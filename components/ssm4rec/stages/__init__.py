"""One folder per container: component.py is what KFP sees, __main__.py what the container runs."""

from ssm4rec.signals import end_while_imported

end_while_imported()
