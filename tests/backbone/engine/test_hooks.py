"""Hooks, adapters and compiled modules act in every path as in the published form."""

from collections.abc import Callable, Iterator

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.engine.cpu_layer import CPULayer
from backbone.engine.prefix import PrefixEngine
from backbone.engine.streaming import OnlineModel
from backbone.hooks import is_plain
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import Backbone, HyenaDNA, random_model
from tests.devices import device, put

CONFIG = HyenaDNAConfig(
    d_model=8, n_layer=2, d_inner=16, max_seq_len=64, filter_order=8, initializer_range=0.4
)
PROMPT, IDS = (
    put(torch.tensor([[7, 9, 9, 10, 8]])),
    put(torch.tensor([[8, 7, 10, 10], [9, 9, 7, 8]])),
)
WHOLE = torch.cat([PROMPT.expand(2, -1), IDS], dim=1)
LENGTHS = put(torch.tensor([4, 2]))
UNCALLED = (nn.ModuleDict, nn.ModuleList, Backbone)
"""Containers: no path calls them."""


def tiny() -> HyenaDNA:
    model = put(random_model(CONFIG, seed=1)).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        noise = put(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        parameter.add_(noise, alpha=0.1)
    return model


NAMES = [name for name, _ in tiny().named_modules() if name]
LEAVES = [name for name, module in tiny().named_modules() if not list(module.children())]
COMPOSITE = [
    name
    for name, module in tiny().named_modules()
    if name and list(module.children()) and not isinstance(module, UNCALLED)
]
ADAPTABLE = [
    name
    for name, module in tiny().named_modules()
    if isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d)
]


def with_engine(model: HyenaDNA, vectors: Tensor, engine: PrefixEngine) -> Iterator[Tensor]:
    """Logits at the last position, at all, at rows' ends, and two letters after rows' ends."""
    state = engine.extend(None, vectors, room=8)
    yield model.logits(engine.encode_last(state, IDS))
    yield model.logits(engine.encode(state, IDS))
    yield model.logits(engine.encode_last(state, IDS, LENGTHS))
    rows = engine.extend(state, IDS, room=2, lengths=LENGTHS)
    yield model.logits(engine.encode(rows, IDS[:, :2]))


def expected_of(model: HyenaDNA, vectors: Tensor) -> Iterator[Tensor]:
    """The same from the published form over whole sequences."""

    def logits(row: int, ids: Tensor) -> Tensor:
        whole = torch.cat([vectors[0], model.embed(ids)])
        return model.logits(reference.encode(model, whole[None]))[0, vectors.shape[1] :]

    whole = torch.stack([logits(row, IDS[row]) for row in range(2)])
    yield whole[:, -1]
    yield whole
    yield whole[put(torch.arange(2)), LENGTHS - 1]
    extended = [torch.cat([IDS[row, : LENGTHS[row]], IDS[row, :2]]) for row in range(2)]
    yield torch.stack([logits(row, extended[row])[-2:] for row in range(2)])


def same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-10)


def check_all_paths(model: HyenaDNA) -> Tensor:
    """Compares forward, prefix engine and token-by-token reading with the published form."""
    expected = reference.logits(model, WHOLE)
    assert same(model(WHOLE).logits, expected)
    vectors = model.embed(PROMPT)
    for checkpoint_prefix in (False, True):
        found = with_engine(model, vectors, PrefixEngine(model, checkpoint_prefix))
        for ours, theirs in zip(found, expected_of(model, vectors), strict=True):
            assert same(ours, theirs)
    online = OnlineModel(model, WHOLE[:, :3], room=6)
    for t in range(3, 9):
        assert same(online.step(WHOLE[:, t]), expected[:, t])
    return expected


def scale(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return 1.1 * output + 0.3


def scale_input(module: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(
        0.9 * x + 0.2 if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_hook_acts_in_every_path(name: str) -> None:
    model = tiny()
    module = model.get_submodule(name)
    module.register_forward_hook(scale)
    found = check_all_paths(model)
    changed = not same(found, reference.logits(tiny(), WHOLE))
    assert changed != isinstance(module, UNCALLED)


@pytest.mark.parametrize("name", NAMES)
def test_a_pre_hook_acts_in_every_path(name: str) -> None:
    model = tiny()
    model.get_submodule(name).register_forward_pre_hook(scale_input)
    check_all_paths(model)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_backward_hook_acts_in_every_path(name: str) -> None:
    model = tiny()
    module = model.get_submodule(name)
    module.register_full_backward_hook(
        lambda module, for_input, for_output: tuple(
            None if gradient is None else 1.5 * gradient for gradient in for_input
        )
    )

    def gradients(run: Callable[[Tensor], Iterator[Tensor]]) -> list[Tensor]:
        vectors = model.embed(PROMPT).detach().requires_grad_()
        return [
            torch.autograd.grad(logits.sin().sum(), vectors, retain_graph=True)[0]
            for logits in run(vectors)
        ]

    expected = gradients(lambda vectors: expected_of(model, vectors))
    for checkpoint_prefix in (False, True):
        engine = PrefixEngine(model, checkpoint_prefix)
        found = gradients(lambda vectors, engine=engine: with_engine(model, vectors, engine))
        for ours, theirs in zip(found, expected, strict=True):
            assert same(ours, theirs)
    plain = gradients(lambda vectors: iter([model.logits(model.encode(vectors))]))
    theirs = gradients(lambda vectors: iter([model.logits(reference.encode(model, vectors))]))
    assert same(plain[0], theirs[0])


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings", "ignore:LoRA adapter added to")
@pytest.mark.parametrize("name", ADAPTABLE)
def test_a_lora_adapter_acts_in_every_path(name: str) -> None:
    rank = 3 * CONFIG.d_model if "short_filter" in name else 2  # PEFT wants one a group
    config = LoraConfig(r=rank, target_modules=[name], init_lora_weights=False)
    torch.manual_seed(0)
    model = tiny()
    inject_adapter_in_model(config, model)
    model.double().requires_grad_(False)
    assert not same(check_all_paths(model), reference.logits(tiny(), WHOLE))


def replace(model: HyenaDNA, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    place = model.get_submodule(parent)
    if isinstance(place, nn.ModuleDict | nn.ModuleList):
        place[int(child) if child.isdigit() and isinstance(place, nn.ModuleList) else child] = (
            module  # type: ignore[index]
        )
    else:
        setattr(place, child, module)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", [n for n in (*LEAVES, *COMPOSITE) if "layers.1" not in n])
def test_a_compiled_module_acts_in_every_path(name: str) -> None:
    torch.compiler.reset()
    model = tiny()
    replace(model, name, torch.compile(model.get_submodule(name), backend="eager"))
    assert same(check_all_paths(model), reference.logits(tiny(), WHOLE))


def test_a_compiled_filter_is_called() -> None:
    torch.compiler.reset()
    model, graphs = tiny(), []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    mixer = model.backbone.layers[0].mixer
    mixer.short_filter = torch.compile(mixer.short_filter, backend=backend)
    PrefixEngine(model).encode(None, IDS)
    assert graphs


def test_a_hook_acts_although_the_filter_is_cached_and_no_longer_once_removed() -> None:
    model = tiny()
    engine, vectors = PrefixEngine(model), model.embed(PROMPT)
    before = list(with_engine(model, vectors, engine))
    layer = model.backbone.layers[0].mixer.filter_fn.implicit_filter["2"]
    handle = layer.register_forward_hook(scale)
    for ours, theirs in zip(
        with_engine(model, vectors, engine), expected_of(model, vectors), strict=True
    ):
        assert same(ours, theirs)
    handle.remove()
    after = list(with_engine(model, vectors, engine))
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_hook_that_learns_gets_its_gradient_from_every_path() -> None:
    model = tiny()
    bias = torch.zeros(8, dtype=torch.float64, requires_grad=True, device=device())
    filters = model.backbone.layers[0].mixer.filter_fn
    filters.register_forward_hook(lambda module, inputs, taps: taps + bias[:, None])
    vectors = model.embed(PROMPT)
    pairs = zip(
        with_engine(model, vectors, PrefixEngine(model)), expected_of(model, vectors), strict=True
    )
    for ours, theirs in pairs:
        found, expected = (
            torch.autograd.grad(x.sin().sum(), bias, retain_graph=True)[0] for x in (ours, theirs)
        )
        assert expected.abs().max() > 0 and same(found, expected)


def test_a_hook_on_all_modules_of_the_process_acts() -> None:
    model = tiny()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: (
            1.1 * output if isinstance(module, nn.Linear | nn.Conv1d) else None
        )
    )
    try:
        with pytest.warns(UserWarning, match="act in model"):
            check_all_paths(model)
    finally:
        handle.remove()


def test_hooks_of_the_model_itself_are_named_by_a_warning() -> None:
    model = tiny()
    model.register_forward_hook(lambda module, inputs, output: None)
    with pytest.warns(UserWarning, match="hooks of the model itself act in model"):
        PrefixEngine(model)


def test_a_foreign_mixer_is_refused_by_the_engine() -> None:
    model = tiny()
    model.backbone.layers[1].mixer = nn.Identity()
    with pytest.raises(InputError, match="block 1 is not HyenaDNA's own"):
        PrefixEngine(model)


def test_plain_modules_take_the_fast_path_and_changed_ones_do_not() -> None:
    block, hidden = tiny().backbone.layers[0], put(torch.zeros(1, 3, 8, dtype=torch.float64))
    assert CPULayer.supports(block, hidden)
    assert is_plain(nn.Linear, nn.Linear(2, 2))
    parametrized, own_forward, compiled = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    nn.utils.parametrizations.weight_norm(parametrized)
    own_forward.forward = lambda x: x  # type: ignore[method-assign]
    compiled.compile(backend="eager")
    for module in (parametrized, own_forward, compiled):
        assert not is_plain(nn.Linear, module)
    nn.utils.parametrizations.weight_norm(block.mlp.fc1)
    assert not CPULayer.supports(block, hidden)
