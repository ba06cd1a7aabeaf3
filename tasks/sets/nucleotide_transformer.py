"""The eighteen tasks of the Nucleotide Transformer, revised (`nt_*`) and original, one line each.

Source: Dalla-Torre, Gonzalez, Mendoza-Revilla et al., "Nucleotide Transformer: building and
evaluating robust foundation models for human genomics", Nature Methods 22 (2025), doi
10.1038/s41592-024-02523-z. Its first version (bioRxiv 2023.01.11.523679) had other data under
mostly the same names: yeast histone marks, enhancers of 200 bases and other splice sites, here
`nt_original_*`. Metrics are the paper's: MCC for enhancers and histone marks, F1 for promoters and
splice sites. On the Hub all tasks of a version lie in one set, told apart by the column `task`.
"""

from tasks.registry import TASKS
from tasks.sources.hub import HubDataset
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task

_CITATION = "Dalla-Torre et al. 2025, Nucleotide Transformer, Nature Methods 22"
_LICENCE = "CC-BY-NC-SA-4.0 (as the publisher's models; the data card states none)"
_REVISED = "InstaDeepAI/nucleotide_transformer_downstream_tasks_revised"
_ORIGINAL = "InstaDeepAI/nucleotide_transformer_downstream_tasks"
_SAMPLE = "nucleotide_transformer/nt_downstream_sample.tsv.gz"

_NO_YES = ("negative", "positive")
# The sets give numbers alone. In the revised splice sites class 2 has the letters of donors around
# its middle (AC|CT in 56 %, as the donors of splice_sites_donors), and class 1 those of acceptors;
# enhancers of type 2 have 3.4 times the CG of type 1, as tissue-invariant ones do.
_SITES = ("neither", "acceptor", "donor")
_TYPES = ("none", "tissue_specific", "tissue_invariant")
_UNNAMED = ("class_0", "class_1", "class_2")

_MIXED_SPLIT = (
    "The local sample is 500 rows for each label value over all tasks together, so classes are "
    "unbalanced by chance; count them with python -m tasks show NAME data=DIR."
)
_SYNTHETIC = (
    "The original enhancers hold 6,000 synthetic positives and 6,000 synthetic negatives made by a "
    "generative model (card of the data set); a classifier can learn the generator."
)


def _add(
    file: str,
    description: str,
    metric: str,
    labels: tuple[str, ...] = _NO_YES,
    original: bool = False,
    flaws: tuple[str, ...] = (),
) -> None:
    only = ("task", file)
    repository = _ORIGINAL if original else _REVISED
    hub = HubDataset(repository, sequence="sequence", only=only)
    folder = f"nucleotide_transformer/{'original' if original else 'revised'}/{file}"
    parts = {
        name: Part(f"{folder}.{name}.tsv.gz", f"the official {name} split")
        for name in ("train", "test")
    }
    layouts = [Layout(**parts)]
    if not original:
        layouts.append(
            Layout(pool=Part(_SAMPLE, "a sample of the official train split", only=only))
        )
        flaws = (*flaws, _MIXED_SPLIT)
    name = f"nt_{'original_' if original else ''}{file.lower()}"
    task = Task(
        name, labels, PublishedSource(hub, tuple(layouts)), metric=metric, description=description,
        citation=_CITATION, licence=_LICENCE, flaws=flaws,
    )  # fmt: skip
    TASKS.add(name, task)


for _mark in ("H2AFZ", "H3K27ac", "H3K27me3", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K9ac",
              "H3K9me3", "H4K20me1"):  # fmt: skip
    _add(_mark, f"histone mark {_mark} in human K562 cells, 1,000 bases", "mcc")
_add("enhancers", "human enhancers of SCREEN, 400 bases", "mcc")
_add("enhancers_types", "tissue-specific or -invariant enhancers, 400 bases", "mcc", _TYPES)
_add("promoter_all", "human promoters, 300 bases", "macro_f1")
_add("promoter_no_tata", "human promoters without a TATA box, 300 bases", "macro_f1")
_add("promoter_tata", "human promoters with a TATA box, 300 bases", "macro_f1")
_add("splice_sites_acceptors", "human splice acceptors, 600 bases", "macro_f1")
_add("splice_sites_all", "human splice sites of both kinds, 600 bases", "macro_f1", _SITES)
_add("splice_sites_donors", "human splice donors, 600 bases", "macro_f1")

for _mark in ("H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K79me3", "H3K9ac",
              "H4", "H4ac"):  # fmt: skip
    _add(_mark, f"histone mark {_mark} in yeast, 500 bases", "mcc", original=True)
_add("enhancers", "human enhancers, 200 bases", "mcc", original=True, flaws=(_SYNTHETIC,))
_add("enhancers_types", "strong or weak enhancers, 200 bases", "mcc", _UNNAMED, True, (_SYNTHETIC,))
_add("promoter_all", "human promoters, 300 bases, first version", "macro_f1", original=True)
_add("promoter_no_tata", "without a TATA box, 300 bases, first version", "macro_f1", original=True)
_add("promoter_tata", "with a TATA box, 300 bases, first version", "macro_f1", original=True)
_add("splice_sites_acceptors", "splice acceptors, first version", "macro_f1", original=True)
_add("splice_sites_all", "splice sites of both kinds, first version", "macro_f1", _UNNAMED, True)
_add("splice_sites_donors", "splice donors, first version", "macro_f1", original=True)
