"""Neighbourhood attention: every backend against the float64 gather oracle, and what torch knows of the operation."""

from functools import cache, partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmnet.blocks import LocalFeatureTransformer, NeighborhoodAttention2d, attention_backend, neighborhood_attention
from lmnet.blocks.neighborhood_backends import BACKENDS
from lmnet.blocks.neighborhood_gather import gather_attention, window_indices
from lmnet.blocks.neighborhood_sliced import sliced_attention

# N, H, W, heads, head size, window
CASES = {
    "odd size": (1, 33, 17, 7, 2, 7),
    "paper level 1": (1, 14, 16, 7, 4, 7),
    "paper level 2": (1, 10, 11, 7, 8, 7),
    "paper level 3": (1, 7, 9, 7, 16, 7),
    "release": (1, 30, 29, 12, 1, 3),
    "batch 4": (4, 13, 9, 2, 3, 5),
    "smaller than the window": (4, 3, 5, 2, 2, 7),
    "lower than the window": (1, 4, 30, 2, 2, 9),
    "one row": (1, 1, 20, 3, 2, 7),
    "one column": (2, 20, 1, 1, 4, 3),
    "one pixel": (2, 1, 1, 1, 1, 7),
    "as wide as the window": (1, 7, 7, 2, 5, 7),
    "window 1": (1, 8, 8, 1, 2, 1),
    "wide window": (1, 21, 25, 1, 2, 21),
    "wide heads": (1, 6, 7, 1, 64, 5),
}
FAST = ["torch", "compiled"]


def qkv_of(n, height, width, heads, size, window=0, dtype=torch.float32):
    """Three strided views of one tensor, as a qkv layer makes them."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(n, height, width, 3, heads, size, generator=generator, dtype=torch.float64).to(dtype)
    return qkv.requires_grad_().unbind(3)


def run(backend, query, key, value, window, scale=None):
    """The output, and the gradients of query, key and value for a fixed gradient of the output."""
    leaves = [x.detach().requires_grad_() for x in (query, key, value)]
    out = neighborhood_attention(*leaves, window, scale=scale, backend=backend)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@cache
def oracle_of(*case):
    return oracle(*qkv_of(*case), case[-1])


def oracle(query, key, value, window, scale=None):
    """As run, by plain autograd through the gather path in float64."""
    leaves = [x.detach().double().requires_grad_() for x in (query, key, value)]
    out = gather_attention(*leaves, window, query.shape[-1] ** -0.5 if scale is None else scale)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def largest_errors(found, expected):
    assert all(torch.isfinite(x).all() for x in found)
    return [(x - y).abs().max().item() for x, y in zip(found, expected, strict=True)]


@pytest.mark.parametrize(("length", "window", "first", "last"), [(9, 5, [0, 4], [4, 8]), (3, 7, [0, 2], [0, 2])])
def test_window_is_shifted_inwards_and_clamped(length, window, first, last):
    indices = window_indices(length, window, torch.device("cpu"))
    assert [indices[0, 0], indices[0, -1]] == first
    assert [indices[-1, 0], indices[-1, -1]] == last


def test_gather_is_softmax_over_the_window():
    query, key, value = qkv_of(1, 6, 5, 2, 3, dtype=torch.float64)
    rows, columns = [1, 2, 3], [2, 3, 4]  # the window of the pixel (2, 4): shifted in from the right
    near_k, near_v = (x[0][rows][:, columns][:, :, 1].reshape(9, 3) for x in (key, value))
    expected = torch.softmax(near_k @ query[0, 2, 4, 1] * 0.5, 0) @ near_v
    assert torch.allclose(gather_attention(query, key, value, 3, 0.5)[0, 2, 4, 1], expected)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_float32_agrees_with_the_float64_oracle(backend, case):
    query, key, value = qkv_of(*case)
    out, *grads = largest_errors(run(backend, query, key, value, case[-1]), oracle_of(*case))
    assert out < 2e-6
    assert max(grads) < 2e-5


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_torch_backend_is_exact_in_float64(case):
    query, key, value = qkv_of(*case, dtype=torch.float64)
    assert max(largest_errors(run("torch", query, key, value, case[-1]), oracle(query, key, value, case[-1]))) < 1e-13


@pytest.mark.parametrize("chunk", [1, 500])
def test_chunks_of_rows_do_not_change_the_numbers(monkeypatch, chunk):
    monkeypatch.setattr("lmnet.blocks.neighborhood_planar.CHUNK", chunk)
    query, key, value = qkv_of(2, 15, 13, 2, 3, dtype=torch.float64)
    assert max(largest_errors(run("torch", query, key, value, 5), oracle(query, key, value, 5))) < 1e-13


@pytest.mark.parametrize("backend", ["gather", *FAST])
def test_scale_is_kept(backend):
    query, key, value = qkv_of(1, 9, 8, 2, 3)
    found = run(backend, query, key, value, 3, scale=0.3)
    assert max(largest_errors(found, oracle(query, key, value, 3, scale=0.3))) < 2e-5


@pytest.mark.parametrize("backend", ["gather", *FAST])
def test_large_scores_do_not_overflow(backend):
    query, key, value = qkv_of(1, 9, 18, 2, 3)
    found = run(backend, query * 300, key, value, 5)
    out, q_grad, *_ = largest_errors(found, oracle(query * 300, key, value, 5))
    assert out < 2e-3  # scores of hundreds carry errors of 1e-5
    assert q_grad < 2e-2


@pytest.mark.parametrize("backend", FAST)
def test_nan_in_a_key_reaches_exactly_the_pixels_that_see_it(backend):
    query, key, value = (x.detach().clone() for x in qkv_of(1, 12, 25, 1, 2))
    key[0, 5, 11] = torch.nan
    out = neighborhood_attention(query, key, value, 5, backend=backend)
    expected = gather_attention(query, key, value, 5, 2**-0.5)
    assert torch.equal(out.isnan(), expected.isnan())


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("case", [(1, 5, 6, 2, 2, 3), (2, 2, 4, 1, 3, 5)], ids=["sliding", "clamped"])
def test_gradcheck(backend, case):
    *shape, window = case
    leaves = [x.detach().clone().requires_grad_() for x in qkv_of(*shape, dtype=torch.float64)]
    attend = partial(neighborhood_attention, window=window, backend=backend)
    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)


@pytest.mark.parametrize("backend", ["gather", *FAST])
def test_any_strides(backend):
    query, key, value = qkv_of(2, 9, 8, 2, 3)
    transposed = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in (query, key, value)]
    reversed_layout = [
        x.detach().permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0) for x in (query, key, value)
    ]
    for strided in (
        transposed,
        reversed_layout,
        [x.detach()[:1].expand(2, -1, -1, -1, -1) for x in (query, key, value)],
    ):
        expected = oracle(*strided, 5)
        found = run(backend, *strided, 5)
        assert max(largest_errors(found, expected)) < 2e-5


@pytest.mark.parametrize("backend", ["gather", *FAST])
def test_gradient_only_where_asked(backend):
    query, key, value = (x.detach().clone() for x in qkv_of(1, 9, 8, 2, 3))
    value.requires_grad_()
    neighborhood_attention(query, key, value, 5, backend=backend).sum().backward()
    assert query.grad is None
    assert key.grad is None
    assert value.grad.sum().item() == pytest.approx(value.numel(), rel=1e-5)  # all weights of a pixel sum to one


@pytest.mark.parametrize("backend", FAST)
def test_one_tensor_as_query_key_and_value_twice(backend):
    x = torch.randn(1, 9, 8, 2, 3, dtype=torch.float64, requires_grad=True)

    def twice(attend):
        once = attend(x, x, x)
        return torch.autograd.grad(attend(once, x, once).square().sum(), x)[0]

    found = twice(lambda *maps: neighborhood_attention(*maps, 5, backend=backend))
    assert torch.allclose(found, twice(lambda *maps: gather_attention(*maps, 5, 3**-0.5)), atol=1e-6)


def test_grad_mode_off_keeps_no_graph():
    query, key, value = qkv_of(1, 9, 8, 2, 3)
    with torch.no_grad():
        assert not neighborhood_attention(query, key, value, 5).requires_grad
    with torch.inference_mode():
        assert neighborhood_attention(query, key, value, 5).is_inference()


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32(backend, dtype):
    query, key, value = qkv_of(1, 9, 13, 2, 3, dtype=dtype)
    found, expected = run(backend, query, key, value, 5), oracle(query, key, value, 5)
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == dtype
        assert torch.allclose(x.double(), y.to(dtype).double(), atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("backend", ["gather", *FAST])
def test_an_empty_batch_stays_empty(backend):
    query, key, value = (x.detach().clone().requires_grad_() for x in qkv_of(0, 9, 8, 2, 3))
    out = neighborhood_attention(query, key, value, 5, backend=backend)
    out.sum().backward()
    assert out.shape == query.grad.shape == (0, 9, 8, 2, 3)


def test_meta_device_and_flop_counter():
    query, key, value = (x.detach().to("meta").requires_grad_() for x in qkv_of(2, 20, 5, 7, 2))
    with FlopCounterMode(display=False) as counter:
        out = neighborhood_attention(query, key, value, 7)
    assert out.shape == query.shape
    forward = counter.get_total_flops()
    assert forward == 2 * 20 * 5 * 2 * 2 * 14 * 7 * 5  # a pixel: two products of C * k^2, here clamped to 7 x 5
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 5 * forward // 2  # the scores again, and four gradients


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own doing
@pytest.mark.parametrize("backend", FAST)
def test_operators_follow_torchs_rules(backend):
    leaves = [x.detach().clone().requires_grad_() for x in qkv_of(1, 6, 5, 2, 2)]
    torch.library.opcheck(torch.ops.lmnet.neighborhood_attention, (*leaves, 3, 0.5, backend))
    plain = [x.detach() for x in leaves]
    backward = torch.ops.lmnet.neighborhood_attention_backward
    torch.library.opcheck(backward, (plain[0], *plain, 3, 0.5, backend))


@pytest.mark.slow
def test_torch_compile_keeps_the_operation_whole():
    layer = NeighborhoodAttention2d(8, num_heads=4, window=5)
    compiled = torch.compile(layer, fullgraph=True)
    x = torch.randn(2, 8, 13, 9, requires_grad=True)
    grads = [torch.autograd.grad(net(x).square().sum(), [x, *layer.parameters()]) for net in (layer, compiled)]
    assert torch.allclose(layer(x), compiled(x), atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_slices_are_exact_in_float64(case):
    *shape, window = case
    query, key, value = qkv_of(*shape, dtype=torch.float64)
    scale = query.shape[-1] ** -0.5
    expected = gather_attention(query, key, value, window, scale)
    assert torch.allclose(sliced_attention(query, key, value, window, scale), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "layer",
    [
        NeighborhoodAttention2d(8, num_heads=4, window=5),
        NeighborhoodAttention2d(8, num_heads=8, window=5, qkv_bias=False),
        LocalFeatureTransformer(8, num_heads=2, window=[3, 7]),
    ],
    ids=["biases", "no biases", "lft"],
)
def test_exported_programs_hold_plain_operations_and_gather_nothing(layer):
    layer.eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 8, 13, 9)
    program = torch.export.export(layer, (x,))
    assert "lmnet" not in str(program.graph)
    assert "index" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-4)


def test_override_reaches_whole_nets_and_nests(monkeypatch):
    monkeypatch.setattr("lmnet.blocks.neighborhood_compiled._is_default", False)  # whatever was trained before
    used = []
    places = {"gather": "neighborhood.gather_attention", "torch": "neighborhood_backends.planar_attention"}
    for name, place in places.items():
        monkeypatch.setattr(
            f"lmnet.blocks.{place}", lambda *args, name=name: (used.append(name), gather_attention(*args))[1]
        )
    net = LocalFeatureTransformer(8, num_heads=4, window=[3, 5])
    x = torch.randn(1, 8, 9, 7)
    with attention_backend("gather"):
        net(x)
        with attention_backend("torch"):
            net(x)
        net(x)
    net(x)
    assert used == ["gather"] * 2 + ["torch"] * 2 + ["gather"] * 2 + ["torch"] * 2


def test_override_ends_with_an_error_inside():
    with pytest.raises(RuntimeError, match="inside"), attention_backend("gather"):
        raise RuntimeError("inside")
    from lmnet.blocks import neighborhood_backends

    assert neighborhood_backends.asked_backend("torch") == "torch"


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_accepts_every_backend_by_name(backend):
    assert NeighborhoodAttention2d(8, num_heads=4, backend=backend).attention.backend == backend


def test_unknown_backend_names_the_choices_and_a_close_one():
    maps = qkv_of(1, 5, 5, 1, 1)
    rule = r"must be one of auto, torch, compiled, gather, got backend='gathr'. Did you mean gather\?"
    with pytest.raises(ValueError, match="neighborhood_attention: backend " + rule):
        neighborhood_attention(*maps, 3, backend="gathr")
    with pytest.raises(ValueError, match="neighborhood_attention: backend " + rule):
        NeighborhoodAttention2d(8, num_heads=4, backend="gathr")
    with pytest.raises(ValueError, match="attention_backend: backend " + rule), attention_backend("gathr"):
        pass


def test_wrong_maps_are_named():
    query, key, value = qkv_of(1, 5, 5, 2, 3)
    with pytest.raises(ValueError, match=r"window must be odd and above 0, got window=4. Use 5"):
        neighborhood_attention(query, key, value, 4)
    with pytest.raises(ValueError, match=r"query must be \(N, H, W, heads, head size\), got \(1, 5, 5, 6\). Split"):
        neighborhood_attention(query.flatten(3), key, value, 3)
    with pytest.raises(ValueError, match=r"key must be like query, \(1, 5, 5, 2, 3\) .*, got \(1, 5, 5, 2, 2\) "):
        neighborhood_attention(query, key[..., :2], value, 3)
    with pytest.raises(ValueError, match=r"value must be like query, .* torch.float32 on cpu, got .* torch.float64"):
        neighborhood_attention(query, key, value.double(), 3)
