"""Count sketches: linear, and right on average within their bound."""

import pytest
import torch

from toolrest.core.sketch import CountSketch


def test_a_sketch_is_linear():
    torch.manual_seed(0)
    sketch = CountSketch([300, 7], width=32)
    one, other = ([torch.randn(3, 100), torch.randn(7)] for _ in range(2))
    joined = [2 * a - b for a, b in zip(one, other, strict=True)]
    assert torch.allclose(sketch(joined), 2 * sketch(one) - sketch(other), atol=1e-4)
    assert torch.equal(sketch(one), CountSketch([300, 7], width=32)(one))
    assert not torch.equal(sketch(one), CountSketch([300, 7], width=32, seed=1)(one))


def test_one_place_has_one_bucket_and_a_sign():
    sketch = CountSketch([5], width=4)
    for place in range(5):
        found = sketch([torch.eye(5)[place]])
        assert found.abs().tolist().count(1.0) == 1
        assert found.abs().sum() == 1


def test_short_vectors_keep_their_products():
    """Places of one chunk never share a bucket."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 30)
    sketch = CountSketch([30], width=32)
    assert sketch([x]) @ sketch([y]) == pytest.approx(float(x @ y), abs=1e-5)


def test_products_are_right_on_average_and_within_the_bound():
    """400 seeds: the mean within 4 standard errors, the variance under
    (|x|^2 |y|^2 + <x, y>^2) / K. Blocks of several tensors, one in columns that are all alike."""
    torch.manual_seed(0)
    sizes, width = [64 * 40, 90, 1], 64
    shared = torch.randn(sum(sizes))
    x, y = (shared + torch.randn(sum(sizes)) for _ in range(2))
    x[: sizes[0]] += 3 * (torch.arange(sizes[0]) % 64 == 5)
    y[: sizes[0]] += 3 * (torch.arange(sizes[0]) % 64 == 5)
    found = []
    for seed in range(400):
        sketch = CountSketch(sizes, width, seed)
        found.append(sketch(x.split(sizes)) @ sketch(y.split(sizes)))
    products, exact = torch.stack(found).double(), (x @ y).double()
    bound = (x.square().sum() * y.square().sum() + (x @ y) ** 2).double() / width
    assert (products.mean() - exact).abs() < 4 * (bound / 400).sqrt()
    assert products.var() < 1.3 * bound


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes"):
        CountSketch([3])([torch.zeros(4)])
