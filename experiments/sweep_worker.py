"""One worker of a sweep: `python -m experiments.sweep_worker`."""

import sys

from experiments.sweep.worker import main

if __name__ == "__main__":
    sys.exit(main())
