"""Reports: one or more run folders as a single HTML file that needs nothing else."""

from continual_repmode.reporting.report import write_report

__all__ = ["write_report"]
