"""Markov models of genomes, in perplexity: `python -m backbone.markov`."""

import sys

from backbone.pretraining.markov import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
