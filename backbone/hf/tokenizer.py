"""A tokenizer of transformers that reads one base as one token, for models that are made here."""

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from backbone.sequence.dna import DNA
from backbone.tokens import TOKEN_ID


def single_base_tokenizer(length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the ids of `backbone.tokens`, for rows of up to so many tokens.

    It needs nothing but transformers. Lower case is read as upper case and U as T; [SEP] also ends
    a text.
    """
    inner = Tokenizer(models.WordLevel(TOKEN_ID, unk_token="[UNK]"))
    same = {"U": "T", "u": "T"} | {letter.lower(): letter for letter in DNA.letters}
    inner.normalizer = normalizers.Sequence([normalizers.Replace(*pair) for pair in same.items()])
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=length,
        padding_side="right",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        bos_token="[BOS]",
        mask_token="[MASK]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    )
