"""A structure of a lab's own, added to a trained network without the old data.

>>> from continual_repmode.extending import ExtensionSettings
>>> ExtensionSettings(batch_size=4).num_epochs(num_images=8)
300
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
