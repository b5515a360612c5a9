"""Patches: against slices, unfold and convolutions whose weights pick single pixels."""

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import PatchEmbedding, patchify, unpatchify

CASES = [(2, 3, 4, 6, 2), (1, 1, 5, 5, 5), (3, 2, 6, 9, 3), (1, 4, 2, 3, 1)]  # B, C, H, W, P


def image(batch, channels, height, width):
    count = batch * channels * height * width
    return torch.arange(count, dtype=torch.float64).view(batch, channels, height, width)  # every number once


def by_slices(img, P):
    _, _, height, width = img.shape
    corners = [(y, x) for y in range(0, height, P) for x in range(0, width, P)]
    return torch.stack([img[:, :, y : y + P, x : x + P].flatten(1) for y, x in corners], dim=1)


def assert_cuts(cut):
    for *shape, P in CASES:
        img = image(*shape)
        assert torch.equal(cut(img, P), by_slices(img, P))


def test_patches_are_slices_in_reading_order():
    assert_cuts(patchify)


def plain_reshape(img, P):
    return img.reshape(len(img), -1, img.shape[1] * P * P)


def column_major(img, P):
    return patchify(img.transpose(2, 3), P)


def channels_last(img, P):
    flat = patchify(img, P)
    return flat.unflatten(-1, (img.shape[1], P * P)).transpose(-1, -2).flatten(-2)


@pytest.mark.parametrize("wrong", [plain_reshape, column_major, channels_last])
def test_other_orders_are_told_apart(wrong):
    with pytest.raises(AssertionError):
        assert_cuts(wrong)


@pytest.mark.parametrize("case", CASES)
def test_patches_equal_unfold_and_a_convolution_that_picks_pixels(case):
    *shape, P = case
    img = image(*shape)
    assert torch.equal(patchify(img, P), F.unfold(img, P, stride=P).transpose(1, 2))
    size = shape[1] * P * P
    kernels = torch.eye(size, dtype=img.dtype).view(size, shape[1], P, P)
    assert torch.equal(patchify(img, P), F.conv2d(img, kernels, stride=P).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    batch, channels, height, width, P = case
    img = image(batch, channels, height, width)
    patches = patchify(img, P)
    assert torch.equal(unpatchify(patches, P, height, width), img)
    assert torch.equal(patchify(unpatchify(patches, P, height, width), P), patches)
    folded = F.fold(patches.transpose(1, 2), (height, width), P, stride=P)
    assert torch.equal(unpatchify(patches, P, height, width), folded)


def test_memory_in_another_order_and_an_empty_batch():
    img = image(2, 3, 4, 6).contiguous(memory_format=torch.channels_last)
    assert torch.equal(patchify(img, 2), by_slices(img, 2))
    assert patchify(img[:0], 2).shape == (0, 6, 12)
    assert unpatchify(patchify(img[:0], 2), 2, 4, 6).shape == (0, 3, 4, 6)
    assert patchify(img.byte(), 2).dtype == torch.uint8


def test_the_embedding_is_a_convolution_with_a_class_token_and_positions():
    torch.manual_seed(0)
    layer = PatchEmbedding(height=4, width=6, patch=2, channels=3, d_model=5).double()
    layer.class_token.data.normal_()
    img = image(2, 3, 4, 6) / 50
    out = layer(img)
    kernels = layer.projection.weight.view(5, 3, 2, 2)
    patches = F.conv2d(img, kernels, layer.projection.bias, stride=2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(out[:, 1:], patches + layer.positions[1:])
    torch.testing.assert_close(out[:, 0], (layer.class_token + layer.positions[0]).expand(2, 5))
    assert sum(p.numel() for p in layer.parameters()) == 12 * 5 + 5 + 5 + 7 * 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: patchify(torch.zeros(3, 4, 4), 2), "img: expected a tensor of shape"),
        (lambda: patchify(torch.zeros(1, 3, 4, 5), 2), "P: expected a number that divides height and width, 4 x 5"),
        (lambda: patchify(torch.zeros(1, 3, 4, 4), 0), "P: expected an integer >= 1"),
        (lambda: unpatchify(torch.zeros(1, 3, 12), 2, 4, 4), r"patches: expected shape \(B, 4, C \* 4\)"),
        (lambda: unpatchify(torch.zeros(1, 4, 13), 2, 4, 4), "patches: expected shape"),
        (lambda: unpatchify(torch.zeros(1, 4, 12), 2, 4, 5), "P: expected a number that divides"),
        (lambda: PatchEmbedding(8, 8, 3, 1, 4), "P: expected a number that divides"),
        (lambda: PatchEmbedding(8, 8, 4, 1, 4)(torch.zeros(1, 1, 8, 12)), "img: expected 4 patches, got 6"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
