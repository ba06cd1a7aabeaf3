"""The tokens of a tokenizer that reads one base as one token, by the ids of `backbone.tokens`."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from backbone.common.errors import InputError
from backbone.tokens import NUCLEOTIDES, TOKEN_ID, TOKENS

PROBE = "ACGTTGCAAACCCGGGTTTTATATATGCGCGCAGTCAGGCTTACGATCGATTAGCACACACGTGTGTCC"
"""DNA in which a tokenizer that merges bases finds something to merge."""

_SPECIAL = (
    ("[SEP]", "sep_token_id"),
    ("[SEP]", "eos_token_id"),
    ("[BOS]", "bos_token_id"),
    ("[CLS]", "cls_token_id"),
    ("[MASK]", "mask_token_id"),
    ("[UNK]", "unk_token_id"),
    ("[PAD]", "pad_token_id"),
)
"""Our tokens and their names in tokenizers, in the order in which they are given away."""


@dataclass(frozen=True)
class Vocabulary:
    """What stands for each of our tokens.

    Attributes:
        own: For each of `backbone.tokens.TOKENS` the tokenizer's id; None without any. [SEP] is the
            separator or else the end of a text; N the unknown token if there is no N.
        start: Ids that the tokenizer sets before every row.
    """

    own: tuple[int | None, ...]
    start: tuple[int, ...]

    @property
    def absent(self) -> frozenset[int]:
        """Our ids for which there is no token."""
        return frozenset(i for i, own in enumerate(self.own) if own is None)


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, name: str) -> Vocabulary:
    """Return the vocabulary of a tokenizer.

    Args:
        tokenizer: As transformers loads it.
        name: Of the backbone, for messages.

    Raises:
        InputError: If the tokenizer does not read one base as one token.
    """

    def read(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    unknown = tokenizer.unk_token_id
    bases = {letter: read(letter) for letter in "ACGT"}
    found = read(PROBE)
    if len(found) < len(PROBE) and unknown not in found:
        raise InputError(
            f"backbone={name}: its tokenizer reads {len(PROBE)} bases as {len(found)} tokens (BPE "
            f"or k-mers); prompts and label words need one token a base"
        )
    letters = {letter: ids[0] for letter, ids in bases.items() if len(ids) == 1}
    distinct = {*letters.values()} - {unknown}
    if len(distinct) < 4 or found != [letters[base] for base in PROBE]:
        raise InputError(
            f"backbone={name}: its tokenizer does not read A, C, G and T as one token each"
        )
    own: list[int | None] = [None] * len(TOKENS)
    for place, letter in zip(NUCLEOTIDES, "ACGT", strict=True):
        own[place] = letters[letter]
    of_n = read("N")
    own[TOKEN_ID["N"]] = of_n[0] if len(of_n) == 1 else unknown
    if own[TOKEN_ID["N"]] is None:
        raise InputError(
            f"backbone={name}: its tokenizer has neither a token for N nor an unknown token"
        )
    for token, attribute in _SPECIAL:
        special = getattr(tokenizer, attribute, None)
        if special is not None and special not in own and own[TOKEN_ID[token]] is None:
            own[TOKEN_ID[token]] = int(special)
    whole = list(tokenizer("A")["input_ids"])
    return Vocabulary(tuple(own), tuple(whole[: whole.index(letters["A"])]))
