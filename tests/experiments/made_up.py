"""Reports of runs that never were, for tests of what is made of them."""

from icl.reporting.report import Report
from tasks.metrics.bootstrap import Estimate

METRICS = ("accuracy", "balanced_accuracy", "mcc", "macro_f1", "auroc", "ece")


def report(method="soft_prompt", tokens=None, accuracy=0.7, **changes):
    config = {
        "task": {"name": "made_up"},
        "method": {"name": method} | changes.pop("options", {}),
        "seed": changes.get("seed", 0),
        "batch_size": changes.pop("batch_size", 64),
        "out": "somewhere",
    }
    uses_backbone = method in ("soft_prompt", "linear_probe")
    estimate = Estimate(accuracy, accuracy - 0.02, accuracy + 0.03)
    fields = dict(
        task="made_up",
        method=method,
        k=tokens,
        prompt_tokens=tokens,
        shots=None,
        tuning_samples=None,
        control=None,
        seed=0,
        split_seed=0,
        backbone="bundled" if uses_backbone else None,
        labels=("no", "yes"),
        kind="classes",
        metrics=dict.fromkeys(METRICS, estimate),
        validation={"accuracy": accuracy + 0.01, "loss": 0.6},
        details={},
        gc_matched_accuracy=estimate,
        full_vocabulary_accuracy=None,
        best_accuracy=0.95,
        evaluated_on="test",
        n_train=700,
        n_val=100,
        n_test=1200,
        split_origin="made up",
        trainable_parameters=0,
        seconds=1.0,
        peak_memory_bytes=1,
        device="cpu",
        threads=2,
        weights_sha256="a" * 64 if uses_backbone else None,
        data_sha256="d" * 64,
        data_revision=None,
        git_commit=None,
        versions={},
        config=config,
    )
    return Report.from_fields(fields | changes)
