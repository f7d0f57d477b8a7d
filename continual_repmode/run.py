"""``python -m continual_repmode.run`` is ``continual-repmode run``."""

import sys

from continual_repmode.__main__ import call

if __name__ == "__main__":
    sys.exit(call("run", sys.argv[1:], last=True))
