"""HyenaDNA: a causal language model over single nucleotides.

Source: Nguyen et al. 2023, arXiv 2306.15794. The model has one seam, embed -> encode -> logits, so
that a prompt of vectors enters where embedded tokens do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from backbone.common.errors import InputError
from backbone.hyena.chunking import in_pieces
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.mlp import Mlp, normed_mlp, serves
from backbone.hyena.operator import HyenaFilter, HyenaOperator


class Block(nn.Module):
    """Pre-norm residual block: x + mixer(norm1 x), then x + mlp(norm2 x)."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Builds the block."""
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mixer = HyenaOperator(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mlp = Mlp(config.d_model, config.d_inner)
        self.dropout = nn.Dropout(config.resid_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the residual stream (B, L, D) to (B, L, D)."""
        x = x + self.dropout(self.mixer(self.norm1(x)))
        return x + self.dropout(self._normed_mlp(x.flatten(0, 1)).view_as(x))

    def _normed_mlp(self, x: Tensor) -> Tensor:
        """Runs norm and MLP on positions (N, D)."""
        norm, mlp = self.norm2, self.mlp
        if serves(x, norm, mlp.fc1, mlp.fc2):
            return normed_mlp(x, norm, mlp.fc1, mlp.fc2)
        return in_pieces(lambda some: mlp(norm(some)), x, modules=(norm, mlp))


class Backbone(nn.Module):
    """Embedding, blocks and final norm, named as in the published checkpoints."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Builds all layers."""
        super().__init__()
        words = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.embeddings = nn.ModuleDict({"word_embeddings": words})
        self.dropout = nn.Dropout(config.embed_dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)


class HyenaDNA(PreTrainedModel, GenerationMixin):
    """A HyenaDNA language model; `logits(encode(embed(ids)))` is the whole of it.

    `generate` and PEFT's causal-LM models work on it: it has no attention and keeps no cache, so a
    generated token costs a pass over the whole sequence.
    """

    config: HyenaDNAConfig
    config_class = HyenaDNAConfig
    base_model_prefix = "hyena"
    _tied_weights_keys = {"lm_head.weight": "hyena.backbone.embeddings.word_embeddings.weight"}
    _no_split_modules = ["Block"]

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Builds the model with random weights.

        Raises:
            InputError: for a shape that is not HyenaDNA's.
        """
        super().__init__(config)
        if config.hyena_order != 2:
            raise InputError(f"hyena_order={config.hyena_order}: only order 2 exists as HyenaDNA")
        if config.emb_dim < 3 or config.emb_dim % 2 == 0:
            raise InputError(f"emb_dim={config.emb_dim}: must be odd and at least 3")
        self.hyena = nn.ModuleDict({"backbone": Backbone(config)})
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.post_init()

    @property
    def backbone(self) -> Backbone:
        """The layers between tokens and logits."""
        layers = self.hyena["backbone"]
        assert isinstance(layers, Backbone)
        return layers

    def _init_weights(self, module: nn.Module) -> None:
        """Initialises one module as the published model does.

        Linear and embedding weights are normal with `initializer_range`, the projections into the
        residual stream shrunk by sqrt(2 n_layer) (GPT-2's rule); the filter's sine MLP keeps
        torch's default initialisation, as published.
        """
        std = self.config.initializer_range
        if isinstance(module, HyenaFilter):
            for layer in module.implicit_filter.values():
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            nn.init.normal_(module.bias)
        elif isinstance(module, Block):
            shrunk = std / (2 * self.config.n_layer) ** 0.5
            nn.init.normal_(module.mixer.out_proj.weight, std=shrunk)
            nn.init.normal_(module.mlp.fc2.weight, std=shrunk)
        elif isinstance(module, HyenaOperator):
            nn.init.normal_(module.in_proj.weight, std=std)
            nn.init.zeros_(module.in_proj.bias)
            nn.init.zeros_(module.out_proj.bias)
            module.short_filter.reset_parameters()
        elif isinstance(module, Mlp):
            nn.init.normal_(module.fc1.weight, std=std)
            nn.init.zeros_(module.fc1.bias)
            nn.init.zeros_(module.fc2.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding of token ids."""
        words = self.backbone.embeddings["word_embeddings"]
        assert isinstance(words, nn.Embedding)
        return words

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the embedding of token ids."""
        self.backbone.embeddings["word_embeddings"] = value

    def get_output_embeddings(self) -> nn.Linear:
        """The head."""
        return self.lm_head

    @property
    def embeddings(self) -> nn.Module:
        """The parent of `word_embeddings`, where PEFT looks for it."""
        return self.backbone.embeddings

    def embed(self, input_ids: Tensor) -> Tensor:
        """Looks up token ids (B, L) as vectors (B, L, D)."""
        return self.get_input_embeddings()(input_ids)

    def encode(self, vectors: Tensor) -> Tensor:
        """Runs all blocks and the final norm over vectors (B, L, D); returns (B, L, D).

        Raises:
            InputError: if L exceeds `max_seq_len`; the operator would cut silently.
        """
        length, most = vectors.shape[1], self.config.max_seq_len
        if length > most:
            raise InputError(f"{length} tokens exceed this checkpoint's max_seq_len of {most}")
        hidden = self.backbone.dropout(vectors)
        for block in self.backbone.layers:
            hidden = block(hidden)
        return self.backbone.ln_f(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Maps hidden states (..., D) to next-token logits (..., padded_vocab_size)."""
        return self.lm_head(hidden)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple[Tensor, ...]:
        """Predicts the next token at every position.

        Args:
            input_ids: (B, L) token ids; or
            inputs_embeds: (B, L, D) vectors in their place.
            labels: (B, L) token ids, shifted here; -100 is not counted.
            attention_mask: (B, L) with 1 for tokens and 0 for padding, which must be on the right;
                nothing is computed from it.
            output_attentions: only None and False: there is no attention.
            output_hidden_states: only None and False: the last ones are returned in any case, the
                others never.
            return_dict: False gives a tuple.

        Returns:
            Logits (B, L, V), the last hidden states, and the mean cross-entropy if labels came.

        Raises:
            ValueError: unless exactly one of `input_ids` and `inputs_embeds` is given.
            InputError: if what is asked does not exist here, or rows are padded on the left.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if output_attentions or output_hidden_states:
            raise InputError("HyenaDNA has no attention, and returns its last hidden states alone")
        if attention_mask is not None and (attention_mask.diff(dim=1) > 0).any():
            raise InputError("HyenaDNA is causal and masks nothing: pad rows on the right")
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids)
        hidden = self.encode(inputs_embeds)
        logits = self.logits(hidden)
        loss = None
        if labels is not None:
            targets = labels[:, 1:].reshape(-1)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets)
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=(hidden,))
        return output.to_tuple() if return_dict is False else output

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **ignored: object
    ) -> dict[str, object]:
        """Gives `forward` the whole sequence at each step of `generate`.

        Args:
            input_ids: (B, L) the tokens so far.
            attention_mask: (B, L) as in `forward`.
            ignored: what transformers hands to models with caches and positions.
        """
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def filter_parameters(model: nn.Module) -> set[str]:
    """Names of the implicit filters' parameters, which are exempt from weight decay."""
    return {name for name, _ in model.named_parameters() if ".filter_fn." in name}


def random_model(config: HyenaDNAConfig, seed: int) -> HyenaDNA:
    """Builds a model with seeded random weights without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HyenaDNA(config)
