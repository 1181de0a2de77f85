"""The one place of image names."""

from typing import Final

from ssm4rec import __version__

DATA_IMAGE: Final = f"ssm4rec-data:{__version__}"
TRAIN_IMAGE: Final = f"ssm4rec-train:{__version__}"
