import pandas as pd

from experiments.demo import sentence


def test_the_sentence_compares_the_longest_prompt_with_none():
    table = pd.DataFrame(
        {
            "method": ["gc_only", "soft_prompt", "soft_prompt"],
            "prompt_tokens": pd.array([None, 64, 0], dtype="Int64"),
            "mean": [0.5, 0.9, 0.6],
            "low": [0.4, 0.88, 0.5],
            "high": [0.6, 0.92, 0.7],
        }
    )
    assert sentence(table, 0.95) == (
        "With 64 prompt tokens the frozen backbone reaches an accuracy of 0.900 "
        "(95 % interval 0.880 to 0.920), +0.300 against 0 tokens; the best possible is 0.950."
    )
