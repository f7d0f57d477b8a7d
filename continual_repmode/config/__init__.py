"""The settings of a run: typed, checked, and registered with Hydra.

A group is a folder of ``configs/``; an option is a file in it. Every class here refuses
bad values on construction with one line that names the setting.
"""
