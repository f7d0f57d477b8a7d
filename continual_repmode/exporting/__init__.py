"""One task of a network for other programs: ONNX, a PyTorch program, bioimage.io.

:func:`continual_repmode.exporting.export.export_task` writes a file and checks it.
"""
