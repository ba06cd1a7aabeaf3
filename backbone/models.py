"""Backbones by name, and the engine for each.

All functions take and return `backbone.protocol.LanguageModel`; only this module distinguishes
kinds of models. The loaders of transformers are imported where they are needed.
"""

from typing import Any

import torch
from torch import Tensor

from backbone.engine.branches import BranchEngine as HyenaBranches
from backbone.engine.prefix import PrefixEngine
from backbone.engine.streaming import OnlineModel as HyenaOnline
from backbone.hf.cached import CachedContexts
from backbone.hf.contexts import TransformersBranches, TransformersContexts
from backbone.hf.model import TransformersModel
from backbone.hf.online import TransformersOnline
from backbone.hf.place import PREFIX
from backbone.hyena import zoo
from backbone.hyena.checkpoints import CHECKPOINTS
from backbone.hyena.model import HyenaDNA
from backbone.places import RANDOM
from backbone.protocol import BranchEngine, ContextEngine, LanguageModel, OnlineModel


def load(name_or_path: str, device: str = "cpu") -> LanguageModel:
    """Load a checkpoint, frozen and in evaluation mode.

    Args:
        name_or_path: A HyenaDNA (see `backbone.hyena.zoo.load`), or `hf:FOLDER`, `hf:OWNER/NAME` or
            `hf:OWNER/NAME@REVISION` for a causal model of transformers (`backbone.hf`); with
            `random:` in front, a model of the same shape with random weights (seed 0).
        device: Where the model goes.

    Raises:
        InputError: If there is no such checkpoint, or it cannot be a backbone.
    """
    plain = name_or_path.removeprefix(RANDOM)
    if not plain.startswith(PREFIX):
        return zoo.load(name_or_path, device)
    from backbone.hf import checkpoint

    model = checkpoint.load(plain.removeprefix(PREFIX), plain != name_or_path)
    return model.to(torch.device(device)).requires_grad_(False).eval()


def shared_name(name_or_path: str) -> str:
    """Return the name by which others can load a backbone: the Hub id of a published checkpoint."""
    known = CHECKPOINTS.get(name_or_path)
    return name_or_path if known is None else known.hub


def context_engine(model: LanguageModel) -> ContextEngine:
    """Return an engine for contexts of a model, whose weights must not change afterwards."""
    if isinstance(model, TransformersModel):
        return CachedContexts(model) if model.family.attends else TransformersContexts(model)
    return PrefixEngine(_hyena(model))


def can_branch(model: LanguageModel) -> bool:
    """Return whether `branch_engine` encodes the shared parts of edited sequences only once."""
    return isinstance(model, HyenaDNA) and HyenaBranches.supports(model)


def branch_engine(
    engine: ContextEngine, vectors: Tensor | None = None, additions: Tensor | None = None
) -> BranchEngine:
    """Return an engine for sequences that branch off others.

    Args:
        engine: Of the model.
        vectors: (E, D), inputs that sequences may hold besides tokens; None for none.
        additions: (n_layer - 1, E, D), added to the input of every layer but the first where a
            vector stands.
    """
    if isinstance(engine.model, TransformersModel):
        return TransformersBranches(engine, vectors, additions)
    assert isinstance(engine, PrefixEngine)
    return HyenaBranches(engine, vectors, additions)


def online(model: LanguageModel, prompt: Tensor, room: int, context: Any = None) -> OnlineModel:
    """Return a model after a prompt, to be read token by token.

    Args:
        model: The backbone.
        prompt: (B, P) token ids, which may be empty (P = 0).
        room: How many tokens may follow.
        context: What stands before the prompt, shared by all rows; None for nothing.

    Raises:
        InputError: If context, prompt and room exceed the model's max_seq_len.
    """
    if isinstance(model, TransformersModel):
        return TransformersOnline(model, prompt, room, context)
    return HyenaOnline(_hyena(model), prompt, room, context)


def weights_sha256(model: LanguageModel) -> str:
    """Return a digest of shape and weights."""
    if isinstance(model, TransformersModel):
        from backbone.hf import checkpoint

        return checkpoint.weights_sha256(model)
    return zoo.weights_sha256(_hyena(model))


def backbone_details(model: LanguageModel) -> dict[str, Any]:
    """Return a report's details of a backbone: its revision on the Hub, and how it was read.

    For models from transformers, also the architecture, parameters and licence.
    """
    if isinstance(model, TransformersModel):
        from backbone.hf import checkpoint

        return checkpoint.details(model)
    origin = zoo.provenance(_hyena(model))
    if origin is None:
        return {}
    found = {"backbone_revision": origin.revision, "backbone_notes": list(origin.notes)}
    return {name: value for name, value in found.items() if value}


def _hyena(model: LanguageModel) -> HyenaDNA:
    assert isinstance(model, HyenaDNA)
    return model
