"""Rows of pseudo-classes with label words: their draw, their loss, and training on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.pretrain import pretrain
from backbone.pretraining.config import PretrainConfig, check_pretraining
from backbone.pretraining.related.genomes import Genomes, Stretch
from backbone.pretraining.related.label_word_loss import label_word_loss
from backbone.pretraining.related.label_words import LabelWordSource
from backbone.tokens import NUCLEOTIDES, SEP, TOKEN_ID, N
from prompts.demonstrations import Demonstration
from prompts.template import Template
from prompts.verbalizer import Verbalizer
from tests.backbone.pretraining.pretraining import lines, pretrain_killed_once, tiny


def codes(seed: int, length: int, letters: str) -> np.ndarray:
    text = "".join(np.random.default_rng(seed).choice(list(letters), size=length))
    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.fixture
def source() -> LabelWordSource:
    """Two classes: windows of A and T alone, and windows of C and G alone."""
    genomes = Genomes([Stretch("at", codes(0, 9_000, "AT")), Stretch("cg", codes(1, 9_000, "CG"))])
    return LabelWordSource(genomes, {"genome": 1.0})


def test_a_row_is_windows_of_two_classes_each_with_the_word_of_its_class(source):
    weak = [TOKEN_ID["A"], TOKEN_ID["T"]]
    for step in range(12):
        drawn = source.rows(4_000, 1_024, seed=1, step=step)
        again = source.rows(4_000, 1_024, seed=1, step=step)
        assert np.array_equal(drawn.ids, again.ids)
        assert drawn.ids.shape[1] <= 1_024
        assert drawn.ids.size <= 4_000 or len(drawn) == 1
        rows, windows = drawn.classes.shape
        parts = drawn.ids.reshape(rows, windows, -1)
        assert (parts[..., [-3, -1]] == SEP).all()
        assert (parts[..., -2] == np.take_along_axis(drawn.words, drawn.classes, axis=1)).all()
        assert (drawn.words[:, 0] != drawn.words[:, 1]).all()
        assert set(drawn.words.flat) <= {*NUCLEOTIDES, N}
        assert (drawn.classes[:, :2].sum(axis=1) == 1).all()
        is_weak = np.isin(parts[..., :-3], weak).all(axis=2)
        assert (np.isin(parts[..., :-3], weak).any(axis=2) == is_weak).all()
        first_class_is_weak = is_weak[drawn.classes == 0].reshape(-1)
        assert first_class_is_weak.size  # every row has both classes, each of one genome
        for row in range(rows):
            assert len({(c, w) for c, w in zip(drawn.classes[row], is_weak[row], strict=True)}) == 2
        assert drawn.asked == rows * (windows - 2)
        assert drawn.bases == rows * (windows * (parts.shape[2] - 3) - 1)


def test_a_row_is_written_as_the_template_of_few_shot_prompts_writes_it(source):
    drawn = source.rows(2_000, 512, seed=0, step=0)
    letters = {number: letter for letter, number in TOKEN_ID.items()}
    words = Verbalizer(tuple(letters[int(word)] for word in drawn.words[0]))
    windows = drawn.ids[0].reshape(drawn.classes.shape[1], -1)[:, :-3]
    demonstrations = [
        Demonstration("".join(letters[int(i)] for i in window), int(label), number)
        for number, (window, label) in enumerate(zip(windows, drawn.classes[0], strict=True))
    ]
    assert np.array_equal(Template(words).encode_demonstrations(demonstrations), drawn.ids[0])


def test_the_loss_is_that_of_the_models_own_logits(source):
    model = random_model(HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=256), 0)
    model = model.double()
    drawn = source.rows(400, 200, seed=2, step=1)
    ids, words, classes = (
        torch.from_numpy(part).long() for part in (drawn.ids, drawn.words, drawn.classes)
    )
    asked = by_hand = right = 0.0
    length = ids.shape[1] // classes.shape[1]
    with torch.no_grad():
        logits = model(ids).logits
        of_bases = logits[..., list(NUCLEOTIDES)].log_softmax(-1)
        for row in range(len(ids)):
            for place in range(1, ids.shape[1]):
                window, offset = divmod(place, length)
                token = int(ids[row, place])
                if offset < length - 3:
                    by_hand -= float(of_bases[row, place - 1, NUCLEOTIDES.index(token)])
                elif offset == length - 2 and window >= 2:
                    pair = logits[row, place - 1, words[row]].log_softmax(-1)
                    own = int(classes[row, window])
                    assert token == int(words[row, own])
                    asked -= float(pair[own])
                    right += float(pair[own] > pair[1 - own])
        found = label_word_loss(model, ids, words, classes)
    assert float(found.words) == pytest.approx(asked)
    assert float(found.bases) == pytest.approx(by_hand)
    assert float(found.right) == right


def related(folder, **options) -> PretrainConfig:
    given = {"source": "related", "valid_fasta": [], "max_seq_len": 128, "first_length": 64}
    return tiny(folder, **{**given, "words": 2.0, "words_tokens": 1_000, **options})


def test_training_on_label_words_is_resumed_exactly(tmp_path):
    whole = pretrain(related(tmp_path, out=str(tmp_path / "whole")))
    half = related(tmp_path, out=str(tmp_path / "half"))
    again = pretrain_killed_once(half)
    one, other = (path / "model.safetensors" for path in (whole, again))
    assert one.read_bytes() == other.read_bytes()
    assert len(lines(str(tmp_path / "whole"), "word_loss")) == 12
    assert all(0 <= share <= 1 for share in lines(str(tmp_path / "whole"), "word_accuracy"))


def test_memory_parts_change_the_weights_by_rounding_alone(tmp_path):
    models = [
        pretrain(related(tmp_path, out=str(tmp_path / name), micro_tokens=most, tokens=256 * 3))
        for name, most in (("one", None), ("parts", 256))
    ]
    one, other = (HyenaDNA.from_pretrained(model).state_dict() for model in models)
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=1e-3, atol=1e-5)


def test_words_of_two_easy_classes_can_be_learned(source):
    shape = HyenaDNAConfig(d_model=32, n_layer=2, d_inner=64, max_seq_len=256)
    model = random_model(shape, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    drawn = source.rows(500, 120, seed=0, step=3)
    ids, words, classes = (
        torch.from_numpy(part).long() for part in (drawn.ids, drawn.words, drawn.classes)
    )
    for _ in range(100):
        found = label_word_loss(model, ids, words, classes)
        optimizer.zero_grad()
        found.words.backward()
        optimizer.step()
    assert found.words.item() < 0.5 * drawn.asked * np.log(2)


def test_label_words_need_related_windows(tmp_path):
    with pytest.raises(InputError, match="words= needs source=related"):
        check_pretraining(replace(related(tmp_path), source="windows"))
