# %% [markdown]
# # A first prompt
#
# HyenaDNA is a language model that reads DNA one nucleotide at a time. In this notebook none of its weights change. Instead, a run
# learns four vectors that stand after each sequence, and the model's next nucleotide is the answer. A small backbone comes with the
# package, so this runs on a CPU without a network.

# %%
import importlib.util

if importlib.util.find_spec("icl") is None:  # in Colab
    %pip install -q genomic-icl

# %%
import experiments
import icl

# %% [markdown]
# ## One run
#
# `synthetic_easy` plants a motif in random DNA, so its best possible accuracy is known. A run fits on training rows, chooses the
# epoch on validation rows and scores the test rows once. A few rows and epochs are enough to see it work.

# %%
few = {"n_train": 400, "seed": 0}
quick = {"test_rows": 200, "val_rows": 100, "audit": "none"}
report = icl.evaluate("synthetic_easy", "soft_prompt", k=4, **few, options=quick | {"method.epochs": 8})
print("accuracy", report.outcome.metrics["accuracy"])
print("best possible", round(report.setup.best_accuracy, 3))
print("numbers learned", report.outcome.trainable_parameters)

# %% [markdown]
# The brackets are a 95 % interval over test rows. The number alone says little: what do simpler methods reach on the same rows?

# %%
for method in ("majority", "gc_only", "kmer_logreg", "linear_probe"):
    icl.evaluate("synthetic_easy", method, **few, options=quick)
icl.evaluate("synthetic_easy", "soft_prompt", k=0, **few, options=quick | {"method.epochs": 8})
icl.evaluate("synthetic_easy", "soft_prompt", k=16, **few, options=quick | {"method.epochs": 8})
table = icl.load_results("runs")
print(table[["method", "k", "accuracy", "accuracy_low", "accuracy_high"]].round(3).to_string(index=False))

# %% [markdown]
# ## The curve
#
# Finished runs are read, not repeated. Baselines without a budget are horizontal lines.

# %%
figure = experiments.draw_curve(table)
figure

# %% [markdown]
# ## Apply it
#
# The folder of a run contains what was learned. `predict_proba` averages the scores of both strands.

# %%
from pathlib import Path

path = table[(table["method"] == "soft_prompt") & (table["k"] == 4)]["path"].iloc[0]
run = icl.load_run(Path(path).parent)
print(run.predict_proba(["ACGT" * 30, "TTGACGTCAA" * 12]).round(3))

# %% [markdown]
# Next: `own_data` uses your own data, with an audit and controls; `what_a_prompt_reads` shows which bases a prompt responds to.
