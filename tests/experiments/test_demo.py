import pandas as pd

from experiments.demo import main, sentence


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


def test_help_and_unknown_words_start_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--help"]) == 0 and "no options" in capsys.readouterr().out
    assert main(["k=4"]) == 2 and capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())
