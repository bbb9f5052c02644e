import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec import MalformedObject, Narrowed, decode, encode, narrowed, pack, unpack

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "bfloat16"]).map(
        lambda name: torch.arange(6).to(getattr(torch, name)).reshape(2, 3)
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    max_leaves=6,
)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@given(VALUES)
def test_what_crosses_a_boundary_arrives_as_it_was(value):
    assert same(unpack(decode(encode(pack(value)))), value)


def test_names_keep_their_order_and_views_of_one_storage_are_separate():
    flat = torch.arange(10.0)
    bundle = decode(encode({"b": flat[5:], "n": None, "a": flat[:5], "whole": flat, "i": 7}))
    assert list(bundle) == ["b", "n", "a", "whole", "i"]
    assert bundle["b"].tolist() == [5, 6, 7, 8, 9]
    bundle["a"].add_(1)
    assert bundle["whole"].tolist() == list(range(10))


def test_non_contiguous_and_scalar_tensors():
    bundle = decode(encode({"t": torch.arange(6).reshape(2, 3).t(), "s": torch.tensor(2.5), "e": torch.zeros(0, 4)}))
    assert bundle["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert bundle["s"].item() == 2.5
    assert bundle["e"].shape == (0, 4)


@pytest.mark.parametrize("cut", [0, 4, 8, 50, -1])
def test_a_truncated_object_is_refused(cut):
    with pytest.raises(MalformedObject):
        decode(encode({"a": torch.arange(100.0)})[:cut])


def test_foreign_bytes_are_refused():
    for data in (b"\x80\x04\x95", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64):
        with pytest.raises(MalformedObject):
            decode(data)


def test_what_cannot_cross_a_boundary_is_named():
    with pytest.raises(TypeError, match="a set cannot cross"):
        pack({1, 2})


NORMAL = 2.0**-126
UNIT_ROUNDOFF = 2.0**-8
"""Of bfloat16: 8 significant bits, rounded to nearest."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_narrowed_tensor_arrives_in_its_own_type_within_a_relative_2_to_the_minus_8(dtype):
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(-120, 120, 20_000, dtype=torch.float64)
    sent = (torch.randn(20_000, generator=generator, dtype=torch.float64) * 2.0**scale).to(dtype)
    data = encode({"number": 3, "x": Narrowed(sent, torch.bfloat16), "exact": sent[:5]})
    got = decode(data)
    assert list(got) == ["number", "x", "exact"] and got["number"] == 3
    assert got["x"].dtype == dtype and torch.equal(got["exact"], sent[:5])
    assert len(data) < 2 * sent.numel() + 5 * dtype.itemsize + 400
    relative = ((got["x"] - sent).abs() / sent.abs()).max().item()
    # float64 is rounded to float32 on its way.
    assert UNIT_ROUNDOFF / 2 < relative <= UNIT_ROUNDOFF * (1 + 2**-23)


def test_numbers_that_float_formats_treat_apart_survive_narrowing():
    sent = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1.0, -2.5, NORMAL, 3.0e38])
    got = decode(encode({"x": Narrowed(sent, torch.bfloat16)}))["x"]
    assert torch.equal(got[:4], sent[:4]) and torch.signbit(got[1]) and got[4].isnan()
    assert torch.equal(got[5:8], sent[5:8]) and got[8].isfinite()


@pytest.mark.parametrize("shape", [(0,), (), (3, 0, 2), (2, 3)])
def test_narrowed_tensors_of_any_shape(shape):
    sent = torch.ones(shape)
    assert torch.equal(decode(encode({"x": Narrowed(sent, torch.bfloat16)}))["x"], sent)


def test_only_wider_floating_tensors_are_narrowed():
    for kept in (1, None, "a", torch.arange(3), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float16),
                 torch.ones(2, dtype=torch.complex64)):  # fmt: skip
        assert narrowed(kept, torch.bfloat16) is kept
    assert isinstance(narrowed(torch.ones(2), torch.bfloat16), Narrowed)
    wide = torch.ones(2)
    assert narrowed(wide, None) is wide


def test_a_header_that_names_no_type_it_knows_is_malformed():
    data = bytes(encode({"x": Narrowed(torch.ones(2), torch.bfloat16)}))
    assert data.count(b"F32") == 1
    with pytest.raises(MalformedObject):
        decode(data.replace(b"F32", b"X32"))
