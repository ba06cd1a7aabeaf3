"""Gradient checkpointing: what is computed again in the backward pass need not be kept."""

from functools import partial

from torch.utils.checkpoint import checkpoint

from backbone.hyena.model import HyenaDNA


def recompute(model: HyenaDNA, what: str) -> None:
    """Lets the model's blocks keep their input alone while they train.

    Args:
        model: is changed in place; its weights and their names are not.
        what: "block" computes whole blocks again, "mixer" only their Hyena operators, which hold
            most of what a block keeps; "none" changes nothing.
    """
    # Nothing that is random lies inside but RowDropout, which repeats itself.
    for block in model.backbone.layers if what != "none" else ():
        module = block.get_submodule("mixer" if what == "mixer" else "")
        again = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
        module.forward = again
