"""Structures predicted from image files and volumes by a trained model.

:func:`~continual_repmode.prediction.files.predict_file` reads and writes files of any
size, :func:`~continual_repmode.prediction.arrays.predict_array` takes a volume in
memory, and the command ``continual-repmode predict`` many files at once.
"""
