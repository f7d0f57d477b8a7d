"""Measure, keep the results as JSON, and write them to ``BENCHMARKS.md``.

python -m benchmarks                       everything, on a CPU
python -m benchmarks training-8 startup    these sections
python -m benchmarks --device cuda         what a card makes a difference to
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.harness import Settings
from benchmarks.machine import describe_versions
from benchmarks.records import SectionResult
from benchmarks.report import load_results, render, write_report
from benchmarks.sections import SECTIONS
from continual_repmode.errors import UserError
from continual_repmode.measuring import describe_machine
from continual_repmode.runtime import resolve_device

ROOT = Path(__file__).parent.parent
CONTINUE_WITHIN = timedelta(hours=12)
USUAL_GIGABYTES = 1.3


def main(argv: Sequence[str] | None = None) -> int:
    """Run what ``argv`` asks for; return the exit status."""
    parser = _parser()
    arguments = sys.argv[1:] if argv is None else list(argv)
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for name, section in SECTIONS.items():
            print(f"{name:12} {section.about}")
        return 0
    if chosen.quick and chosen.output == ROOT:
        parser.error("--quick measures nothing worth keeping; name another --output")
    try:
        device = resolve_device(chosen.device)
    except UserError as error:
        parser.error(str(error))
    settings = Settings(
        device, chosen.rounds, chosen.quick, chosen.gigabytes, chosen.folder
    )
    results = chosen.output / "benchmarks" / "results"
    torch.backends.cudnn.benchmark = True
    command = describe_command(chosen)
    names = chosen.sections or [
        name
        for name, section in SECTIONS.items()
        if section.uses_device or settings.on_cpu
    ]
    for name in names:
        if chosen.resume and _is_done(results / f"{name}-{device.type}.json", command):
            tqdm.write(f"{name}: measured already", file=sys.stderr)
            continue
        measure(name, settings, command).save(results)
        write_report(
            chosen.output / "BENCHMARKS.md", load_results(results, list(SECTIONS))
        )
    print(render(load_results(results, list(SECTIONS))))
    return 0


def describe_command(chosen: argparse.Namespace) -> str:
    """Return the command without what makes no difference to a result, such as paths.

    So a report names no folder of the machine it was made on.
    """
    words = ["python", "-m", "benchmarks", *chosen.sections]
    words += ["--device", chosen.device] if chosen.device != "cpu" else []
    words += ["--rounds", str(chosen.rounds)] if chosen.rounds else []
    words += ["--quick"] if chosen.quick else []
    if chosen.gigabytes != USUAL_GIGABYTES:
        words += ["--gigabytes", f"{chosen.gigabytes:g}"]
    return shlex.join(words)


def measure(name: str, settings: Settings, command: str) -> SectionResult:
    """Measure a section and note where and how."""
    tqdm.write(f"{name}: {SECTIONS[name].about}", file=sys.stderr)
    began, clock = datetime.now(UTC), time.perf_counter()
    measurements = SECTIONS[name].measure(settings)
    return SectionResult(
        section=name,
        about=SECTIONS[name].about,
        device=settings.device.type,
        began=began.isoformat(timespec="minutes"),
        wall_time_s=time.perf_counter() - clock,
        command=command,
        machine=describe_machine(settings.device),
        versions=describe_versions(),
        measurements=tuple(measurements),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "sections",
        nargs="*",
        metavar="section",
        choices=[*SECTIONS, []],
        help="what to measure (see --list); everything by default",
    )
    add("--list", action="store_true", help="name the sections and stop")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--rounds", type=_positive, help="times each case is measured")
    add(
        "--continue",
        action="store_true",
        dest="resume",
        help="leave out what the same command measured in the last 12 hours",
    )
    add(
        "--quick",
        action="store_true",
        help="tiny sizes that only show that everything runs; needs --output",
    )
    add(
        "--output",
        type=Path,
        default=ROOT,
        help="where BENCHMARKS.md and benchmarks/results are written",
    )
    add(
        "--gigabytes",
        type=float,
        default=USUAL_GIGABYTES,
        help="of volumes for 'loading'",
    )
    add(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "benchmark-volumes",
        help="where these volumes are kept",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: use 1 or more")
    return number


def _is_done(path: Path, command: str) -> bool:
    if not path.exists():
        return False
    result = SectionResult.load(path)
    age = datetime.now(UTC) - datetime.fromisoformat(result.began)
    same = result.command == command and result.versions == describe_versions()
    return same and age < CONTINUE_WITHIN


if __name__ == "__main__":
    sys.exit(main())
