"""One folder per container: settings.py says what it is told, __main__.py runs, component.py is what KFP sees."""

from ssm4rec.runtime.collection import import_uncollected
from ssm4rec.runtime.signals import end_while_imported

end_while_imported()
import_uncollected()
