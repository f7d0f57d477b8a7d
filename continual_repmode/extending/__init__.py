"""A structure of a lab's own, added to a trained network without the old data.

>>> from continual_repmode.extending import ExtensionSettings
>>> ExtensionSettings(batch_size=4).num_epochs(num_images=8)
300
"""

from continual_repmode.extending.extension import Extension, extend_model
from continual_repmode.extending.settings import ExtensionSettings

__all__ = ["Extension", "ExtensionSettings", "extend_model"]
