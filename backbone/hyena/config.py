"""The shape of a HyenaDNA model, as a transformers configuration."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class HyenaDNAConfig(PreTrainedConfig):
    """Shape and constants of a HyenaDNA model; field names are those of the checkpoints on the Hub.

    Attributes:
        d_model: Width of the residual stream.
        n_layer: Number of blocks.
        d_inner: Hidden width of the position-wise MLP.
        vocab_size: Number of tokens; the embedding is padded to `padded_vocab_size` rows.
        pad_vocab_size_multiple: What the number of rows is a multiple of.
        max_seq_len: Longest input in tokens; the filters are functions of lag / `max_seq_len`.
        emb_dim: Positional features of the implicit filter: the lag itself, and a cosine and a sine
            for each frequency band; odd, at least 3.
        filter_order: Width of the implicit filter's sine MLP.
        num_inner_mlps: Inner layers of the sine MLP.
        activation_freq: Initial frequency of its sines.
        train_freq: Whether the frequencies are learned.
        short_filter_order: Width of the short depthwise convolution.
        hyena_order: Number of gates; only 2 is published and implemented.
        embed_dropout: Dropout after the embedding, in training.
        resid_dropout: Dropout before every addition to the residual stream, in training.
        layer_norm_epsilon: Epsilon of the layer norms.
        tie_word_embeddings: Whether the head shares the embedding's weights.
        initializer_range: Initial standard deviation of linear and embedding weights.
        num_attention_heads: 0; PEFT reads it from every causal language model.
    """

    model_type = "hyenadna"

    d_model: int = 128
    n_layer: int = 2
    d_inner: int = 512
    vocab_size: int = 12
    pad_vocab_size_multiple: int = 8
    max_seq_len: int = 1024
    emb_dim: int = 5
    filter_order: int = 64
    num_inner_mlps: int = 2
    activation_freq: float | int = 10
    train_freq: bool = True
    short_filter_order: int = 3
    hyena_order: int = 2
    embed_dropout: float | int = 0.0
    resid_dropout: float | int = 0.0
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    num_attention_heads: int = 0
    pad_token_id: int | None = 4
    bos_token_id: int | None = 2
    sep_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 1

    @property
    def padded_vocab_size(self) -> int:
        """The rows of the embedding: `vocab_size` rounded up to a multiple."""
        step = self.pad_vocab_size_multiple
        return -(-self.vocab_size // step) * step

    @property
    def hidden_size(self) -> int:
        """The width, under the name that PEFT and accelerate read."""
        return self.d_model

    @property
    def num_hidden_layers(self) -> int:
        """The number of blocks, under the name that PEFT and accelerate read."""
        return self.n_layer


# Other packages may have registered a port of their own under the same name.
AutoConfig.register(HyenaDNAConfig.model_type, HyenaDNAConfig, exist_ok=True)
