"""Predict structures in napari: a widget on the open image layer.

:mod:`~continual_repmode.napari_plugin.layers` holds what is computed and knows neither
napari nor Qt; :mod:`~continual_repmode.napari_plugin.widget` is the form, which napari
finds through ``napari.yaml``.
"""
