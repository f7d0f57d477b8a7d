"""``python -m continual_repmode.torchrun``: torchrun, with the status of a command.

Takes what ``torchrun`` takes. The status is that of the command: 2 for a mistake that
it has told, and 75 where a signal stopped it, so that schedulers begin the job again;
``torchrun`` itself has 1 for both. SIGUSR1 stops it, too.
"""

import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from continual_repmode.stopping import TRY_AGAIN

_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def main(arguments: Sequence[str]) -> int:
    """Start the processes and wait for them; return the exit status."""
    try:
        words = ["--signals-to-handle", _SIGNALS, *arguments]
        run(parse_args(words))  # type: ignore[no-untyped-call]
    except SignalException:
        return TRY_AGAIN
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return max(first.exitcode, 1)  # below 0: ended by a signal
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
