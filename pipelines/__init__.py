"""How the stages are arranged: the DAGs, their compilation, and where they run."""

from ssm4rec.runtime.collection import import_uncollected
from ssm4rec.runtime.signals import end_while_imported

end_while_imported()
import_uncollected()
