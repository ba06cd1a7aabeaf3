"""HyenaDNA: a causal language model over single nucleotides.

Source: Nguyen et al. 2023, arXiv 2306.15794. The model is three steps, embed -> encode -> logits,
so that a prompt of vectors can stand where embedded tokens do.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from backbone.common.errors import InputError
from backbone.hyena.chunking import in_chunks
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.kernels import uses_cpu_kernels
from backbone.hyena.mlp import Mlp, is_plain_mlp, normed_mlp
from backbone.hyena.operator import HyenaFilter, HyenaOperator
from backbone.protocol import AdapterTargets, LanguageModel

if TYPE_CHECKING:
    from peft import PeftConfig

ADAPTER_TARGETS = AdapterTargets(
    lora=("in_proj", "out_proj", "fc1", "fc2"), ia3=("in_proj", "fc2"), feedforward=("fc2",)
)
"""LoRA changes every linear map of a block; the implicit filter keeps its weights, so that
convolution kernels are those of the frozen model. IA3 rescales keys, values and the MLP's inner
activations: Hyena's counterparts of the first two are its gates and its value, the outputs of
in_proj; the last are the inputs of fc2."""


class Block(nn.Module):
    """Pre-norm residual block: x + mixer(norm1 x), then x + mlp(norm2 x)."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Build the block."""
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mixer = HyenaOperator(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mlp = Mlp(config.d_model, config.d_inner)
        self.dropout = nn.Dropout(config.resid_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual stream (B, L, D) to (B, L, D)."""
        x = x + self.dropout(self.mixer(self.norm1(x)))
        return x + self.dropout(self._normed_mlp(x))

    def _normed_mlp(self, x: Tensor) -> Tensor:
        """Run norm and MLP on (B, L, D)."""
        norm, mlp = self.norm2, self.mlp
        if not is_plain_mlp(norm, mlp):  # hooks see all positions at once
            return mlp(norm(x))
        positions = x.flatten(0, 1)
        if uses_cpu_kernels(x, norm.weight.dtype):
            return normed_mlp(positions, norm, mlp).view_as(x)
        found = in_chunks(lambda some: mlp(norm(some)), positions, modules=(norm, mlp))
        return found.view_as(x)


class Backbone(nn.Module):
    """Embedding, blocks and final norm, named as in the published checkpoints."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Build all layers."""
        super().__init__()
        words = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.embeddings = nn.ModuleDict({"word_embeddings": words})
        self.dropout = nn.Dropout(config.embed_dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)


class HyenaDNA(PreTrainedModel, GenerationMixin, LanguageModel):
    """A HyenaDNA language model: `logits(encode(embed(ids)))`.

    The `generate` of transformers and PEFT's causal language models work with it. It keeps no
    cache, so a token generated that way costs a pass over the whole sequence.
    """

    config: HyenaDNAConfig
    config_class = HyenaDNAConfig
    base_model_prefix = "hyena"
    _tied_weights_keys = {"lm_head.weight": "hyena.backbone.embeddings.word_embeddings.weight"}
    _no_split_modules = ["Block"]
    adapter_targets = ADAPTER_TARGETS
    inner_offsets = True

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Build the model with random weights.

        Raises:
            InputError: If the shape is not one of HyenaDNA's.
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
        """Initialise one module as the published model does.

        Linear and embedding weights are normal with standard deviation `initializer_range`, divided
        by sqrt(2 n_layer) for projections into the residual stream (as in GPT-2); the filter's
        sine MLP keeps torch's default initialisation.
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
        """Return the embedding of token ids, which an adapter may wrap."""
        return self.backbone.embeddings["word_embeddings"]  # type: ignore[return-value]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding of token ids."""
        self.backbone.embeddings["word_embeddings"] = value

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head."""
        return self.lm_head

    @property
    def embeddings(self) -> nn.Module:
        """The parent of `word_embeddings`, where PEFT looks for it."""
        return self.backbone.embeddings

    @property
    def peft_model(self) -> nn.Module:
        """The model itself."""
        return self

    def with_adapter(self, config: "PeftConfig") -> nn.Module:
        """Put an adapter into the model; return the `PeftModel` around it."""
        from peft import get_peft_model

        return get_peft_model(self, config)

    def without_adapter(self) -> "HyenaDNA":
        """Return the model, which `PeftModel` keeps around it and not in it."""
        return self

    def start(self) -> Tensor:
        """Return no vectors, (0, D): a row begins with its first base."""
        return self.get_input_embeddings().weight[:0].detach()

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed token ids (B, L) as vectors (B, L, D)."""
        return self.get_input_embeddings()(input_ids)

    def encode(self, vectors: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Run all blocks and the final norm over vectors (B, L, D); return (B, L, D).

        Args:
            vectors: Embedded tokens, or what stands in their place.
            states: A list to append the hidden states to: the embeddings, then the output of each
                block, the last one after the final norm.

        Raises:
            InputError: If L exceeds `max_seq_len`; the operator would cut silently.
        """
        self._check_length(vectors)
        hidden = self.backbone.dropout(vectors)
        for block in self.backbone.layers:
            if states is not None:
                states.append(hidden)
            hidden = block(hidden)
        hidden = self.backbone.ln_f(hidden)
        if states is not None:
            states.append(hidden)
        return hidden

    def layer_states(self, vectors: Tensor) -> Iterator[Tensor]:
        """Yield the states (B, L, D) of every layer; see `LanguageModel.layer_states`."""
        self._check_length(vectors)
        hidden = self.backbone.dropout(vectors)
        yield hidden
        for block in (*self.backbone.layers, self.backbone.ln_f):
            hidden = block(hidden)
            yield hidden

    def _check_length(self, vectors: Tensor) -> None:
        length, most = vectors.shape[1], self.config.max_seq_len
        if length > most:
            raise InputError(f"{length} tokens exceed this checkpoint's max_seq_len of {most}")

    def logits(self, hidden: Tensor) -> Tensor:
        """Map hidden states (..., D) to next-token logits (..., padded_vocab_size)."""
        return self.lm_head(hidden)

    def letter_logits(self, hidden: Tensor, letters: Tensor) -> Tensor:
        """Map hidden states (..., D) to next-token logits (..., K) of a few token ids (K,)."""
        return hidden @ self.lm_head.weight[letters].t()

    def undecayed(self) -> set[str]:
        """Return the names of the implicit filters' parameters."""
        return filter_parameters(self)

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
        """Predict the next token at every position.

        Args:
            input_ids: (B, L) token ids; or
            inputs_embeds: (B, L, D) vectors in their place.
            labels: (B, L) token ids, shifted here; -100 is ignored.
            attention_mask: (B, L), 1 or True for tokens and 0 or False for padding, which must be
                on the right: a causal model then never sees it, so the mask is only checked.
            output_attentions: Only None and False, since there is no attention.
            output_hidden_states: Whether to return the hidden states.
            return_dict: False returns a tuple.

        Returns:
            Logits (B, L, V); the mean cross-entropy if labels are given; if asked for, the hidden
            states (B, L, D) of the embeddings and of each block, the last one after the final norm.

        Raises:
            ValueError: Unless exactly one of `input_ids` and `inputs_embeds` is given.
            InputError: If attentions are asked for, or the mask has padding before a token.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if output_attentions:
            raise InputError("output_attentions=True: HyenaDNA has no attention")
        if attention_mask is not None and (attention_mask.int().diff(dim=1) > 0).any():
            raise InputError(
                "attention_mask: there is padding before a token, and HyenaDNA cannot mask it; "
                "pad rows on the right (padding_side='right')"
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids)
        states: list[Tensor] | None = [] if output_hidden_states else None
        logits = self.logits(self.encode(inputs_embeds, states))
        loss = None
        if labels is not None:
            targets = labels[:, 1:].reshape(-1)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets)
        kept = None if states is None else tuple(states)
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=kept)
        return output.to_tuple() if return_dict is False else output

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **ignored: object
    ) -> dict[str, object]:
        """Give `forward` the whole sequence at each step of `generate`.

        Args:
            input_ids: (B, L), the tokens so far.
            attention_mask: (B, L), as in `forward`.
            ignored: What transformers passes to models with caches and positions.
        """
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def filter_parameters(model: nn.Module) -> set[str]:
    """Return the names of the implicit filters' parameters, which weight decay spares."""
    return {name for name, _ in model.named_parameters() if ".filter_fn." in name}


def random_model(config: HyenaDNAConfig, seed: int) -> HyenaDNA:
    """Build a model with seeded random weights, leaving the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HyenaDNA(config)
