"""``continual-repmode status``: what runs in the background are doing."""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError
from continual_repmode.processes import command_line

_ABOUT = """\
Tell what runs and extensions are doing: since when, how far, and how long it takes yet.

Reads their folders only, so it can be called while they run, also on another machine
that sees the same disk. The time left of an experience is without its test; that of the
whole run has all experiences and tests, taken to go as the current one does."""


def main(arguments: Sequence[str]) -> int:
    """Print the state of run folders; return the exit status.

    Raises UserError if a folder is not that of a run.
    """
    parser = Parser("status", _ABOUT, "runs/incremental/*")
    parser.add_argument("folders", nargs="+", metavar="RUN", help="as a run wrote it")
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    told = [_status(Path(folder)) for folder in chosen.folders]
    print("\n".join(line for lines in told for line in lines))
    return 0


def _status(path: Path) -> list[str]:
    from continual_repmode.results import RunFolder, read_json

    folder = RunFolder(path)
    records = folder.records()
    facts: dict[str, Any] = {}
    if folder.progress.is_file():
        facts = read_json(folder.progress)
    if not (facts or records or folder.config.is_file()):
        raise UserError(
            f"{path}: not the folder of a run; name one, such as "
            "runs/incremental/2026-01-31_12-00-00"
        )
    done = len(records)
    total = facts.get("experiences", done)
    running = folder.is_held()
    lines = [f"{path}: {_state(running, done, total, facts)}"]
    for record in records:
        tasks = _names(record.tasks)
        score = sum(row["r2"] for row in record.rows) / max(1, len(record.rows))
        lines.append(
            f"  experience {record.experience + 1} of {total} ({tasks}): done, R2 of "
            f"all images {score:.3f}"
        )
    if done < total:
        lines += _current(facts, done)
        if running:
            lines += _whole(facts, total)
        else:
            again = folder.sound_header() or {}
            resume = command_line(["continual-repmode", "run", f"resume={path}"])
            command = resume if folder.config.is_file() else again.get("command", "")
            lines.append(f"  resume with: {command}")
    return lines


def _state(running: bool, done: int, total: int, facts: dict[str, Any]) -> str:
    if not facts:
        return "running, preparing" if running else "not begun, or of an older version"
    since = datetime.fromtimestamp(facts["since"]).isoformat(" ", "seconds")
    silent = time.time() - facts["updated"]
    if running:
        return (
            f"running since {since}, process {facts['pid']}, last sign "
            f"{_duration(silent)} ago"
        )
    if done == total:
        return f"complete, {_duration(facts['updated'] - facts['since'])} of work"
    return f"interrupted {_duration(silent)} ago"


def _current(facts: dict[str, Any], done: int) -> list[str]:
    """Tell of the experience that is being learned."""
    if facts.get("experience") != done:
        return []
    where = f"  experience {done + 1} of {facts['experiences']}"
    where += f" ({_names(facts['tasks'])})"
    if facts["doing"] == "testing":
        return [f"{where}: testing"]
    said = f", {facts['said']}" if facts["said"] else ""
    return [f"{where}: epoch {facts['epoch']} of {facts['epochs']}{said}"]


def _whole(facts: dict[str, Any], total: int) -> list[str]:
    """Tell of all experiences together, where that is known."""
    seconds = facts.get("run_seconds_left")
    if seconds is None:
        return []
    left = _duration(seconds - (time.time() - facts["updated"]))
    return [f"  all of {total} experiences with their tests: about {left} left"]


def _names(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) if len(tasks) < 3 else f"{len(tasks)} tasks"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
