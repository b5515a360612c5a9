"""Hidden checks of exercise 14, and other ways to solve it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.attention import patches as public
from autograder.exercises.attention.patches import counted_image, cut_out, expect_numbers
from autograder.rng import Rng
from autograder.student import Student


class Patchify(public.Patchify):
    @check(hint="A linear layer on patches must equal a convolution with stride P that has the same weights.")
    def equals_a_convolution_with_stride(self, student: Student, rng: Rng) -> None:
        channels, P, out = 3, rng.randint(2, 4), 5
        img, weight = rng.normal(2, channels, 3 * P, 2 * P), rng.normal(out, channels, P, P)
        patches = student.patchify(img, P)
        expect_numbers(patches, cut_out(img, P), "the result")
        want = F.conv2d(img, weight, stride=P).flatten(2).transpose(1, 2)
        close(
            patches @ weight.flatten(1).T, want.contiguous(), rtol=1e-4, atol=1e-5, what="a linear layer on the result"
        )

    @check(hint="Try P = 1, a single row of patches, and an image of bytes.")
    def takes_every_shape_and_dtype(self, student: Student, rng: Rng) -> None:
        for batch, channels, height, width, P in ((1, 2, 2, 3, 1), (3, 1, 3, 9, 3), (2, 4, 8, 2, 2), (1, 2, 15, 10, 5)):
            img = counted_image(batch, channels, height, width)
            for image in (img, img.to(torch.uint8)):
                what = f"for an image of shape {tuple(img.shape)}, {image.dtype} and P = {P},"
                patches = cut_out(image, P)
                expect_numbers(student.patchify(image, P), patches, f"{what} the result")
                expect_numbers(student.unpatchify(patches, P, height, width), image, f"{what} the image")

    @check(hint="Gradients go through a permutation unchanged, each to where its number came from.")
    def lets_gradients_through(self, student: Student, rng: Rng) -> None:
        img, P = rng.normal(1, 2, 6, 9), 3
        where = cut_out(counted_image(1, 2, 6, 9), P)
        expect_numbers(student.patchify(img, P), cut_out(img, P), "the result")
        _, (grad,) = student.patchify.gradient(img, P, wrt=[0], upstream=where)
        close(grad, counted_image(1, 2, 6, 9), what="the gradient of the image")

    @variant
    class Slices:
        """A loop over the corners of the patches."""

        def patchify(img, P):
            rows = []
            for y in range(0, img.shape[2], P):
                for x in range(0, img.shape[3], P):
                    rows.append(img[:, :, y : y + P, x : x + P].flatten(1))
            return torch.stack(rows, dim=1)

        def unpatchify(patches, P, H, W):
            batch, _, size = patches.shape
            img = torch.empty(batch, size // P**2, H, W, dtype=patches.dtype)
            for number in range(patches.shape[1]):
                y, x = divmod(number, W // P)
                img[:, :, y * P : y * P + P, x * P : x * P + P] = patches[:, number].view(batch, -1, P, P)
            return img

    @variant
    class WindowsAndStripes:
        """Windows by Tensor.unfold; back by joining patches into rows and rows into an image."""

        def patchify(img, P):
            windows = img.unfold(2, P, P).unfold(3, P, P)  # [B, C, rows, columns, P, P]
            return windows.movedim(1, 3).flatten(3).flatten(1, 2)

        def unpatchify(patches, P, H, W):
            tiles = patches.view(len(patches), patches.shape[1], -1, P, P)
            across = W // P
            stripes = [torch.cat(tiles[:, i : i + across].unbind(1), dim=-1) for i in range(0, tiles.shape[1], across)]
            return torch.cat(stripes, dim=-2)

    @variant
    class Einsum:
        """One permutation of a view, and index tables for the way back."""

        def patchify(img, P):
            b, c, h, w = img.shape
            tiles = img.contiguous().view(b, c, h // P, P, w // P, P)
            return torch.einsum("bcyixj->byxcij", tiles).reshape(b, h * w // P**2, c * P**2)

        def unpatchify(patches, P, H, W):
            y, x = torch.arange(H)[:, None], torch.arange(W)[None, :]
            which, inside = (y // P) * (W // P) + x // P, (y % P) * P + x % P
            channels = patches.shape[2] // P**2
            return torch.stack([patches[:, which, c * P**2 + inside] for c in range(channels)], dim=1)
