"""Print the held-out perplexity of Markov models: `python -m backbone.markov`."""

import sys

from backbone.pretraining.markov import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
