"""Alphabets, and the tokenizers that are exported for them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.hyena.tokenizer import TOKENIZERS, DNATokenizer, ProteinTokenizer, RNATokenizer
from backbone.sequence.dna import ALPHABETS, DNA, PROTEIN, RNA, normalise
from backbone.tokens import TOKEN_ID


@given(st.text(alphabet="ACGTUNRYSWKMBDHVacgtun", max_size=40))
def test_dna_is_cleaned_as_rows_of_tasks_are(text):
    assert DNA.clean(text) == normalise(text)[0]
    assert RNA.clean(text) == normalise(text)[0].replace("T", "U")


@pytest.mark.parametrize("name", ALPHABETS)
def test_cleaning_twice_changes_nothing_and_gives_tokens(name):
    alphabet, tokenizer = ALPHABETS[name], TOKENIZERS[name]()
    text = alphabet.clean((alphabet.letters + alphabet.ambiguous).lower())
    assert alphabet.clean(text) == text
    assert set(text) == set(alphabet.letters)
    ids = tokenizer(text)["input_ids"]
    assert ids[: len(alphabet.letters)] == list(range(7, 7 + len(alphabet.letters)))
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocab_size == 7 + len(alphabet.letters)


@pytest.mark.parametrize(
    ("alphabet", "text", "message"),
    [
        (DNA, "ACxG", "position 3: 'x' is not a nucleotide letter"),
        (RNA, "AC!G", "position 3: '!' is not a nucleotide letter"),
        (PROTEIN, "MK-V", "position 3: '-' is not an amino acid letter"),
    ],
)
def test_strange_letters_are_named(alphabet, text, message):
    with pytest.raises(InputError, match=message):
        alphabet.clean(text)


def test_rna_has_the_ids_of_dna_so_that_a_dna_model_reads_it():
    assert RNATokenizer()("acgu")["input_ids"] == DNATokenizer()("ACGT")["input_ids"]
    assert RNATokenizer()("ACGT")["input_ids"] == [7, 8, 9, 10]


def test_saved_vocabularies_are_read_by_their_own_tokenizer_alone(tmp_path):
    ProteinTokenizer(model_max_length=50).save_pretrained(tmp_path)
    assert ProteinTokenizer.from_pretrained(tmp_path)("MKX")["input_ids"] == [17, 15, 27]
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert len(vocabulary) == 28 and vocabulary["A"] == TOKEN_ID["A"] and vocabulary["Y"] == 26
    with pytest.raises(InputError, match="not the dna vocabulary of HyenaDNA .7=A 8=C 9=G 10=T"):
        DNATokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("letter", ["ß", "ſ", "Ａ", "ﬁ", " ", "\n"])
def test_characters_that_only_become_letters_in_upper_case_are_refused(letter):
    with pytest.raises(InputError, match="position 3: "):
        DNA.clean(f"AC{letter}G")
    with pytest.raises(InputError, match="row 7, position 3: "):
        normalise(f"AC{letter}G", 7)


def test_ambiguous_letters_are_counted():
    assert normalise("acgtunRYswN") == ("ACGTTNNNNNN", 4)
