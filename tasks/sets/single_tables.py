"""Published sets that come as one table, one line each; divided 70/10/20 by `split_seed`.

Sources: iEnhancer-2L (Liu et al. 2016, Bioinformatics 32); CNNProm (Umarov and Solovyev 2017, PLOS
ONE 12); coding sequences of seven gene families from NCBI (Kaggle, "Demystify DNA sequencing");
the example of DNABERT (Ji et al. 2021, Bioinformatics 37); expression of a yeast 3' end library
(Shalem et al. 2015, PLoS Genetics 11).
"""

from tasks.registry import TASKS
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Kind, Task

_NONE_STATED = "none stated (academic data set)"
_NO_YES = ("negative", "positive")
_FAMILIES = (
    "g_protein_coupled_receptor",
    "tyrosine_kinase",
    "tyrosine_phosphatase",
    "synthetase",
    "synthase",
    "ion_channel",
    "transcription_factor",
)
_ISOFORMS = (
    "Isoforms of a gene are near-identical, and a random division puts them on both sides: "
    "python -m tasks check NAME data=DIR counts near-duplicates; split=by_cluster keeps them apart."
)
_LENGTHS = "Classes differ in length: compare with method=length_only."


def _add(
    name: str,
    file: str,
    what: str,
    labels: tuple[str, ...],
    description: str,
    citation: str,
    *,
    metric: str = "accuracy",
    licence: str = _NONE_STATED,
    kind: Kind = "classes",
    flaws: tuple[str, ...] = (),
) -> None:
    source = PublishedSource(None, (Layout(pool=Part(file, what)),))
    task = Task(
        name, labels, source, metric=metric, description=description, citation=citation,
        licence=licence, kind=kind, flaws=flaws,
    )  # fmt: skip
    TASKS.add(name, task)


_add(
    "ienhancer2l", "enhancers/ienhancer2l_cv_clean.tsv.gz", "the cross-validation set, cleaned",
    _NO_YES, "human enhancers, 200 bases", "Liu et al. 2016, iEnhancer-2L, Bioinformatics 32",
    metric="mcc", flaws=(
        "100 of the 200 enhancers of the published independent set are in the published "
        "cross-validation set; the file here leaves out the 116 rows that share a 40-mer with the "
        "independent set. Recompute: look up every 40-mer of one set in the other.",
    ),
)  # fmt: skip
_add(
    "arabidopsis_promoter", "promoters/arabidopsis_promoters.tsv.gz", "the published set", _NO_YES,
    "promoters of Arabidopsis thaliana, 251 bases",
    "Umarov and Solovyev 2017, CNNProm, PLOS ONE 12", metric="mcc", flaws=(
        "Negatives are fragments of genes downstream of the first exon, so coding composition "
        "tells the classes apart as well as promoters do: compare with method=gc_only and "
        "kmer_logreg.",
    ),
)  # fmt: skip
_add(
    "ecoli_promoter", "promoters/ecoli_sigma70_promoters.tsv.gz", "the published set", _NO_YES,
    "sigma70 promoters of Escherichia coli, 81 bases",
    "Umarov and Solovyev 2017, CNNProm, PLOS ONE 12", metric="mcc", flaws=(
        "Negatives are antisense coding sequence, whose composition differs from promoters: "
        "compare with method=gc_only and kmer_logreg.",
    ),
)  # fmt: skip
for _species, _file in (("chimpanzee", "chimpanzee"), ("dog", "dog"), ("human", "human_sample")):
    _add(
        f"gene_family_{_species}", f"gene_family/{_file}.tsv.gz", f"coding sequences of {_species}",
        _FAMILIES, f"seven gene families of {_species}, coding sequences",
        "NCBI; Kaggle, Demystify DNA sequencing", metric="macro_f1", licence="none stated",
        flaws=(_ISOFORMS, _LENGTHS),
    )  # fmt: skip
_add(
    "dnabert_sample", "other/dnabert_ft_sample.tsv.gz", "the example's dev rows", _NO_YES,
    "DNABERT's example of fine-tuning, 101 bases", "Ji et al. 2021, DNABERT, Bioinformatics 37",
    licence="Apache-2.0", flaws=("What the labels mean is not stated by its authors.",),
)  # fmt: skip
_add(
    "yeast_expression", "regression/yeast_3utr_shalem2015.tsv.gz", "the library", ("expression",),
    "expression of a reporter with designed yeast 3' ends, 150 bases",
    "Shalem et al. 2015, PLoS Genetics 11", metric="pearson",
    licence="MIT (hosting repository); source article CC-BY", kind="regression", flaws=(
        "A designed library: many rows are variants of one sequence, and a random division puts "
        "them on both sides; split=by_cluster keeps them apart.",
    ),
)  # fmt: skip
