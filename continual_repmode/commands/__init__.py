"""The verbs of the console command: one short module each, with ``main(arguments)``."""

VERBS = {
    "run": "learn a stream of tasks, testing after each experience",
}
"""Verb -> what it does, in one line."""
