"""The tokenizers of transformers over an alphabet, with the ids of the published checkpoints."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizer

from backbone.common.errors import InputError
from backbone.sequence.dna import DNA, PROTEIN, RNA, Alphabet
from backbone.tokens import SEP, SPECIALS


class SequenceTokenizer(PreTrainedTokenizer):
    """One token for each letter of an alphabet: ids 0 to 6 are special tokens, then the letters.

    Lower case is read as upper case, ambiguous letters as the unknown one; any other character is
    an error. No special tokens are added: a call returns the sequence's own ids.
    """

    alphabet: Alphabet
    vocab_files_names = {"vocab_file": "vocab.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file: str | None = None, **kwargs: object) -> None:
        """Build the tokenizer; its vocabulary is fixed, and a file is only checked against it.

        Args:
            vocab_file: A saved vocabulary.
            **kwargs: Settings of transformers' own tokenizers, kept in their files.

        Raises:
            InputError: If the saved vocabulary is another one.
        """
        self._tokens = (*SPECIALS, *self.alphabet.letters)
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        if vocab_file is not None and json.loads(Path(vocab_file).read_text()) != self._ids:
            letters = " ".join(f"{i}={token}" for token, i in list(self._ids.items())[7:11])
            raise InputError(
                f"{vocab_file} is not the {self.alphabet.name} vocabulary of HyenaDNA ({letters})"
            )
        specials = {f"{name[1:-1].lower()}_token": name for name in SPECIALS if "RES" not in name}
        settings = {**specials, "eos_token": "[SEP]", "padding_side": "right", **kwargs}
        super().__init__(**settings)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without the padding of the embedding."""
        return len(self._tokens)

    def get_vocab(self) -> dict[str, int]:
        """Return token -> id."""
        return dict(self._ids)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        return list(self.alphabet.clean(text))

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids["[UNK]"])

    def _convert_id_to_token(self, index: int) -> str:
        return self._tokens[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens without spaces."""
        return "".join(tokens)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the ids as they are; a pair is joined by [SEP]."""
        return token_ids_0 if token_ids_1 is None else [*token_ids_0, SEP, *token_ids_1]

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write vocab.json and return its path."""
        name = (f"{filename_prefix}-" if filename_prefix else "") + "vocab.json"
        path = Path(save_directory) / name
        path.write_text(json.dumps(self._ids, indent=1) + "\n")
        return (str(path),)


class DNATokenizer(SequenceTokenizer):
    """The published ids: 7=A 8=C 9=G 10=T 11=N; U is read as T."""

    alphabet = DNA


class RNATokenizer(SequenceTokenizer):
    """The ids of DNA with U for T, so that a DNA checkpoint's ids mean the same bases."""

    alphabet = RNA


class ProteinTokenizer(SequenceTokenizer):
    """Twenty amino acids and X."""

    alphabet = PROTEIN


TOKENIZERS: dict[str, type[SequenceTokenizer]] = {
    tokenizer.alphabet.name: tokenizer
    for tokenizer in (DNATokenizer, RNATokenizer, ProteinTokenizer)
}
"""Tokenizers by the name of their alphabet."""
