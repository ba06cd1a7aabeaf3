"""The Genomic Benchmarks (Gresova et al. 2023), one line per task.

Source: Gresova, Martinek, Cechak, Simecek, Alexiou, "Genomic benchmarks: a collection of datasets
for genomic sequence classification", BMC Genomic Data 24:25 (2023), doi 10.1186/s12863-023-01123-8.
"""

from tasks.registry import TASKS
from tasks.sources.hub import HubDataset
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task

_LISTS = "github.com/ML-Bioinfo-CEITEC/genomic_benchmarks, datasets/NAME/{train,test}/*.csv.gz"
_SUBSETS = (
    "The local subset files are regions of a few chromosomes: too few rows to compare methods."
)
_FLAWS = {
    "enhancer_ensembl": (
        "75.5 % of the official test positives are exact copies of train rows. Recompute from the "
        f"interval lists ({_LISTS}): look up region, start, end and strand of test/positive.csv.gz "
        "in train/positive.csv.gz.",
        "Some rows are shorter than 20 bases. Recompute: end minus start in the same lists.",
        _SUBSETS,
    ),
    "promoter_nontata": (
        "99 % of the official test negatives overlap a train interval by half or more. Recompute "
        f"from the interval lists ({_LISTS}): intersect test/negative.csv.gz with the intervals of "
        "train on the same region, and count those that share at least half of their bases.",
    ),
    "regulatory_ensembl": (
        "Length alone gives 91.5 % accuracy on the official splits. Recompute from the interval "
        f"lists ({_LISTS}): classify by end minus start, or run method=length_only.",
    ),
    "human_or_worm": (_SUBSETS,),
}
"""What is known to be wrong with the published splits, by task."""

_CITATION = "Gresova et al. 2023, Genomic benchmarks, BMC Genomic Data 24:25"
_NO_YES = ("negative", "positive")


def _layouts(name: str) -> tuple[Layout, ...]:
    """The local files of a set: its two official files, or those of them that exist."""
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
        name, labels, source, description=description, citation=_CITATION, licence="Apache-2.0",
        flaws=_FLAWS.get(name, ()),
    )  # fmt: skip
    TASKS.add(name, task, aliases=(official,))


_CODING = ("coding", "intergenic")
_REGULATORY = ("enhancer", "ocr", "promoter")
_add("enhancer_cohn", "human_enhancers_cohn", _NO_YES, "human enhancers, 500 bases")
_add("enhancer_ensembl", "human_enhancers_ensembl", _NO_YES, "human enhancers of Ensembl")
_add(
    "regulatory_ensembl",
    "human_ensembl_regulatory",
    _REGULATORY,
    "human enhancers, promoters or open chromatin",
)
_add("promoter_nontata", "human_nontata_promoters", _NO_YES, "human promoters without a TATA box")
_add("ocr_ensembl", "human_ocr_ensembl", _NO_YES, "open chromatin in human")
_add(
    "coding_vs_intergenic",
    "demo_coding_vs_intergenomic_seqs",
    _CODING,
    "human coding or intergenic sequence",
)
_add("human_or_worm", "demo_human_or_worm", ("human", "worm"), "human or worm sequence, 200 bases")
_add("mouse_enhancer", "dummy_mouse_enhancers_ensembl", _NO_YES, "mouse enhancers, few and long")
