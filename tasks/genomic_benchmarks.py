"""The Genomic Benchmarks (Gresova et al. 2023), one line a task.

Source: Gresova, Martinek, Cechak, Simecek, Alexiou, "Genomic benchmarks: a collection of datasets
for genomic sequence classification", BMC Genomic Data 24:25 (2023), doi 10.1186/s12863-023-01123-8.
"""

from tasks.hub import HubDataset
from tasks.registry import TASKS
from tasks.sources import Layout, Part, PublishedSource
from tasks.task import Task

_CITATION = "Gresova et al. 2023, Genomic benchmarks, BMC Genomic Data 24:25"
_NO_YES = ("negative", "positive")


def _layouts(name: str) -> tuple[Layout, ...]:
    """The local files of a set: its two official files, else what there is of them."""
    folder = "genomic_benchmarks"
    train = Part(f"{folder}/{name}.train.tsv.gz", "the official train split")
    test = Part(f"{folder}/{name}.test.tsv.gz", "the official test split")
    sample = Part(f"{folder}/{name}.sample.tsv.gz", "a sample of the official train split")
    some_train = Part(
        f"{folder}/subset/{name}.train_subset.tsv.gz", "a regional subset of the official train"
    )
    some_test = Part(
        f"{folder}/subset/{name}.test_subset.tsv.gz", "a regional subset of the official test"
    )
    return (
        Layout(train=train, test=test),
        Layout(pool=test),
        Layout(pool=sample),
        Layout(train=some_train, test=some_test),
    )


def _add(name: str, official: str, labels: tuple[str, ...], description: str) -> None:
    hub = HubDataset(f"katarinagresova/Genomic_Benchmarks_{official}")
    source = PublishedSource(hub, _layouts(official))
    task = Task(
        name, labels, source, description=description, citation=_CITATION, licence="Apache-2.0"
    )
    TASKS.add(name, task, aliases=(official,))


_CODING = ("coding", "intergenic")
_REGULATORY = ("enhancer", "ocr", "promoter")
_add("enhancer_cohn", "human_enhancers_cohn", _NO_YES, "human enhancers, 500 bases")
_add("enhancer_ensembl", "human_enhancers_ensembl", _NO_YES, "human enhancers of Ensembl")
_add("regulatory_ensembl", "human_ensembl_regulatory", _REGULATORY, "kind of regulatory element")
_add("promoter_nontata", "human_nontata_promoters", _NO_YES, "human promoters without TATA box")
_add("ocr_ensembl", "human_ocr_ensembl", _NO_YES, "open chromatin in human")
_add("coding_vs_intergenic", "demo_coding_vs_intergenomic_seqs", _CODING, "coding or not")
_add("human_or_worm", "demo_human_or_worm", ("human", "worm"), "species of 200 bases")
_add("mouse_enhancer", "dummy_mouse_enhancers_ensembl", _NO_YES, "mouse enhancers, few and long")
