from .extension import Extension, extend_model
from .settings import ExtensionSettings

__all__ = ["Extension", "ExtensionSettings", "extend_model"]
