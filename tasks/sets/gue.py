"""Genome Understanding Evaluation (GUE; Zhou et al. 2023): 27 sets with official splits.

Source: Zhou, Ji, Li, Dutta, Davuluri, Liu, "DNABERT-2: Efficient foundation model and benchmark for
multi-species genome", arXiv 2306.15006 (2023). Train, dev and test are the benchmark's own; where
a folder holds dev and test alone, dev is divided instead, and the origin says so.
"""

from tasks.registry import TASKS
from tasks.sources.hub import HubDataset
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task

_CITATION = "Zhou et al. 2023, DNABERT-2, arXiv 2306.15006"
_NO_YES = ("negative", "positive")
# The benchmark gives numbers alone. In the sequences AG ends at the middle in 99.6 % of class 0,
# and GT starts there in 98.7 % of class 1.
_SITES = ("acceptor", "donor", "neither")


def _layouts(file: str) -> tuple[Layout, ...]:
    """The local files of a set: train, dev and test, or else the last two."""
    train, dev, test = (
        Part(f"gue/{file}.{split}.tsv.gz", f"the official {split} split")
        for split in ("train", "dev", "test")
    )
    return Layout(train=train, dev=dev, test=test), Layout(dev=dev, test=test)


def _add(
    name: str, file: str, config: str, description: str, labels: tuple[str, ...] = _NO_YES
) -> None:
    hub = HubDataset("leannmlindsey/GUE", sequence="sequence", config=config)
    task = Task(
        f"gue_{name}", labels, PublishedSource(hub, _layouts(file)), metric="mcc",
        description=description, citation=_CITATION, licence="Apache-2.0",
    )  # fmt: skip
    TASKS.add(task.name, task, aliases=(config,))


for _name, _text in (
    ("core_tata", "human promoters with a TATA box, 70 bases"),
    ("core_notata", "human promoters without a TATA box, 70 bases"),
    ("core_all", "human promoters, 70 bases"),
    ("300_tata", "human promoters with a TATA box, 300 bases"),
    ("300_notata", "human promoters without a TATA box, 300 bases"),
    ("300_all", "human promoters, 300 bases"),
):
    _add(f"prom_{_name}", f"prom_prom_{_name}", f"prom_{_name}", _text)
for _n in range(5):
    _text = f"binding of transcription factor {_n} in human, 101 bases"
    _add(f"tf_{_n}", f"tf_{_n}", f"human_tf_{_n}", _text)
for _n in range(5):
    _text = f"binding of transcription factor {_n} in mouse, 101 bases"
    _add(f"mouse_{_n}", f"mouse_{_n}", f"mouse_{_n}", _text)
for _mark in (
    "H3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K9ac", "H3K14ac", "H3K36me3", "H3K79me3", "H4", "H4ac"
):  # fmt: skip
    _text = f"histone mark {_mark} in yeast, 500 bases"
    _add(f"emp_{_mark.lower()}", f"EMP_{_mark}", f"emp_{_mark}", _text)
_SPLICE = "splice_reconstructed"
_add("splice", _SPLICE, _SPLICE, "human splice sites, 400 bases", _SITES)
