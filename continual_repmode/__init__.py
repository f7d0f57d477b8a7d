"""Predict many subcellular structures from one 3D transmitted-light image.

A task-incremental continual-learning toolkit around RepMode (Zhou et al., CVPR 2023).
``__init__.pyi`` lists the public names; each is loaded when it is first used, so
importing the package itself loads neither PyTorch nor Avalanche nor Hydra.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
