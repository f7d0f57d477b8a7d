"""How long it takes until something can be asked, and what is imported by then."""

import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial

from benchmarks.harness import Settings, alternate
from benchmarks.records import Comparison, Measurement, Spread

BARE = "python -c pass"
STARTS = {
    BARE: ("-c", "pass"),
    "import continual_repmode": ("-c", "import continual_repmode"),
    "python -m continual_repmode --help": ("-m", "continual_repmode", "--help"),
    "import continual_repmode.models": ("-c", "import continual_repmode.models"),
    "import torch": ("-c", "import torch"),
}
TARGETS_S = {
    "import continual_repmode": 0.1,
    "python -m continual_repmode --help": 1.0,
}

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def measure(settings: Settings) -> list[Measurement]:
    """Measure processes from start to end, with compiled bytecode in place."""
    timed = alternate(
        {what: partial(start, *arguments) for what, arguments in STARTS.items()},
        settings.rounds_or(9),
        "start-up",
    )
    rows = []
    for what, arguments in STARTS.items():
        over = [
            own - bare
            for own, bare in zip(timed[what].seconds, timed[BARE].seconds, strict=True)
        ]
        target = None if settings.quick else TARGETS_S.get(what)
        compared = Comparison("time above bare Python", Spread.of(over), "s", target)
        rows.append(
            Measurement(
                "start of a process",
                what,
                timed[what].spread,
                "s",
                comparisons=() if what == BARE else (compared,),
                note=describe_imports(start("-X", "importtime", *arguments)),
            )
        )
    return rows


def start(*arguments: str) -> str:
    """Run Python with these arguments to its end; return what it wrote to stderr."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed one is compiled
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    ).stderr


def describe_imports(import_times: str) -> str:
    """Sum up the output of ``-X importtime``: how many modules, and the heaviest.

    Parameters
    ----------
    import_times : str
        Lines ``import time: <own us> | <cumulative us> | <module>``.

    Returns
    -------
    str
        The packages with the largest sum of own times, over all their modules.
    """
    own_us: Counter[str] = Counter()
    num_modules = 0
    for line in import_times.splitlines():
        found = _IMPORT.match(line)
        if found:
            own, module = found.groups()
            num_modules += 1
            own_us[module.partition(".")[0]] += int(own)
    heaviest = ", ".join(
        f"{package} {us / 1e6:.2f} s"
        for package, us in own_us.most_common(4)
        if us >= 5_000
    )
    return f"{num_modules} modules" + (f": {heaviest}" if heaviest else "")
