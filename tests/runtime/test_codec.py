import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec import MalformedObject, decode, encode, pack, unpack

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
