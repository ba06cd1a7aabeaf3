# %% [markdown]
# # What a prompt reads, and what a variant changes
#
# In-silico mutagenesis replaces every base of a row by each of the three others and measures how the answer changes. On
# `synthetic_easy` the planted motif is known, so the explanation can be compared with the truth.

# %%
import importlib.util

if importlib.util.find_spec("icl") is None:  # in Colab
    %pip install -q genomic-icl

# %%
from pathlib import Path

import icl
import matplotlib.pyplot as plt
import pandas as pd
from icl.explain.__main__ import main as explain
from icl.variants.__main__ import main as variants

# %%
quick = {"test_rows": 200, "val_rows": 100, "audit": "none", "method.epochs": 8}
report = icl.evaluate("synthetic_easy", "soft_prompt", k=4, n_train=400, options=quick)
run = Path(icl.load_results("runs")["path"].iloc[0]).parent
print("accuracy", report.outcome.metrics["accuracy"])

# %% [markdown]
# ## Bases
#
# `icl.explain` writes a table of rows and a table of bases. It explains rows of both classes, and shuffled rows as a control.

# %%
explain([f"run={run}", "rows=4", "out=explained", "threads=1"])

# %%
rows = pd.read_csv("explained/rows.tsv", sep="\t")
bases = pd.read_csv("explained/bases.tsv", sep="\t")
print(list(rows), list(bases), sep="\n")

# %% [markdown]
# The importance of a base is the mean drop of the class's log-odds when it is replaced. A row of the class `motif`:

# %%
chosen = rows[rows["label"] == "motif"]["row"].iloc[0]
one = bases[bases["row"] == chosen]
figure, axes = plt.subplots(figsize=(9, 2))
axes.bar(range(len(one)), one["importance"], color="teal")
axes.set(xlabel="base", ylabel="importance")
figure

# %% [markdown]
# ## A variant
#
# Each row of the table has two sequences, reference and alternative. The first pair changes the base that matters most in this row,
# and the second pair the base that matters least. `icl.variants` scores both by the backbone's likelihood and states, and by the
# log-odds of the class under the run.

# %%
sequence = rows["sequence"][chosen]


def changed(place, choose):
    """The sequence with the letter of largest (or smallest) effect at a place."""
    base = one.loc[place]
    other = choose(sorted(set("ACGT") - {base["base"]}), key=lambda letter: abs(base[letter]))
    return sequence[: base["position"]] + other + sequence[base["position"] + 1 :]


importance = one["importance"]
pairs = [
    (sequence, changed(importance.idxmax(), max)),
    (sequence, changed(importance.abs().idxmin(), min)),
]
pd.DataFrame(pairs, columns=["ref", "alt"]).to_csv("pairs.csv", index=False)
variants(["table=pairs.csv", f"run={run}", "out=variants", "threads=1"])

# %%
found = pd.read_csv("variants/variants.tsv", sep="\t")
print(found.drop(columns=["record", "id", "given", "label"]).round(3).T.to_string())

# %% [markdown]
# With a genome and a VCF file, run `python -m icl.variants vcf=x.vcf.gz fasta=genome.fa run=RUN`. To find out whether such scores
# separate pathogenic from benign variants, give it labels: `label=` reports AUROC and AUPRC by kind of variant, with baselines.
