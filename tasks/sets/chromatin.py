"""Chromatin profiles: many labels per sequence, each the presence of a protein or mark.

Sources: Zhou and Troyanskaya, "Predicting effects of noncoding variants with deep learning-based
sequence model" (DeepSEA), Nature Methods 12 (2015); ChIPHub (Fu et al. 2022, Nature Communications
13) for rice, in the layout of DeepSEA. A label is a text of zeros and ones, in the order of the
names here.
"""

from tasks.registry import TASKS
from tasks.sources.one_label import multi_label_family
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task

_RICE_NAMES = """
AGO AP2 ARF ASR Biotin C2H2 CENH3 CO-like E2F_DP ERF G2-like GRAS GRF GW6a H2AZ H2Bub1 H3 H3K14CR
H3K18AC H3K23AC H3K27AC H3K27ME3 H3K36ME1 H3K36ME2 H3K36ME3 H3K4AC H3K4ME1 H3K4ME2 H3K4ME3 H3K56AC
H3K9AC H3K9ME1 H3K9ME2 H3K9ME3 H4AC H4K12AC H4K16AC HD-ZIP HHC4 HPY1 LAZY LC2 MIKC_MADS NAC NF-YB
OsIDS1 OsSGL OsSRT1 PIBP1 RNAPII SBP SDG711 TALE TOC1 WOX WRKY bHLH bZIP
"""
_RICE = tuple(f"osa_{name}" for name in _RICE_NAMES.split())
_RICE_MARKS = tuple(name for name in _RICE if name[4:6] in ("H2", "H3", "H4"))

_KINDS = {"DHS": 125, "TF": 690, "HM": 104}
"""DeepSEA's 919 columns in their order: open chromatin, transcription factors, histone marks."""

_DEEPSEA = {kind: tuple(f"{kind}_{i}" for i in range(1, n + 1)) for kind, n in _KINDS.items()}
"""Labels are numbered within their kind, as the columns of the published matrices have no names."""


def _add(task: Task) -> None:
    TASKS.add(task.name, multi_label_family(task))


def _parts(stem: str, *names: str) -> dict[str, Part]:
    files = {"train": "train", "dev": "valid", "test": "test"}
    return {
        name: Part(
            f"chromatin_profiles/{stem}.{files[name]}.tsv.gz", f"the official {files[name]} split"
        )
        for name in names
    }


_add(
    Task(
        "deepsea",
        tuple(label for labels in _DEEPSEA.values() for label in labels),
        PublishedSource(None, (Layout(**_parts("deepsea", "train", "dev", "test")),)),
        metric="auroc",
        description="919 chromatin profiles of human, 1,000 bases",
        citation="Zhou and Troyanskaya 2015, DeepSEA, Nature Methods 12",
        licence="none stated (academic data set)",
        kind="multi_label",
        groups=_DEEPSEA,
        flaws=(
            "Rows of the published train split come with their reverse complements, and windows of "
            "1,000 bases lie every 200 bases: neighbours share 80 % of their bases; test is "
            "chromosomes 8 and 9, so nothing is shared with it.",
        ),
    )
)
_TRAINVALID = Part("chromatin_profiles/rice_chiphub.trainvalid.tsv.gz", "the official train split")
_add(
    Task(
        "chromatin_rice",
        _RICE,
        PublishedSource(None, (Layout(train=_TRAINVALID, **_parts("rice_chiphub", "test")),)),
        metric="auroc",
        description="58 chromatin profiles of rice, 1,024 bases, very small",
        citation="Fu et al. 2022, ChIPHub, Nature Communications 13",
        licence="none stated",
        kind="multi_label",
        groups={
            "HM": _RICE_MARKS,
            "other": tuple(name for name in _RICE if name not in _RICE_MARKS),
        },
        flaws=(
            "181 rows in all: enough to run the code, not to compare methods.",
            "66 of the 76 test windows share half or more of their bases with a train window (both "
            "tile the same chromosomes, at other steps): compare the column region of the files.",
        ),
    )
)
