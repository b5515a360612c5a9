"""Exercise 14: an image as a sequence of patches, and back."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.compare import true
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import attention


def counted_image(batch: int, channels: int, height: int, width: int) -> Tensor:
    """An image in which every number occurs once, so that each can be followed."""
    count = batch * channels * height * width
    return torch.arange(float(count)).view(batch, channels, height, width)


def cut_out(img: Tensor, P: int) -> Tensor:
    """Patches by looking up every number on its own."""
    batch, channels, height, width = img.shape
    numbers = [
        img[b, c, y + dy, x + dx].item()
        for b in range(batch)
        for y in range(0, height, P)
        for x in range(0, width, P)
        for c in range(channels)
        for dy in range(P)
        for dx in range(P)
    ]
    return torch.tensor(numbers, dtype=img.dtype).view(batch, height // P * (width // P), channels * P * P)


def expect_numbers(got: Any, want: Tensor, what: str) -> None:
    """A tensor of exactly these numbers; where one is in the wrong place, say which."""
    true(isinstance(got, Tensor), f"{what} is {type_name(got)}, expected a tensor of shape {tuple(want.shape)}")
    true(tuple(got.shape) == tuple(want.shape), f"{what} has shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    true(got.dtype == want.dtype, f"{what} has dtype {got.dtype}, expected {want.dtype}")
    if torch.equal(got, want):
        return
    wrong = (got != want).nonzero()
    at = tuple(wrong[0].tolist())
    true(
        False, f"{what} is wrong in {len(wrong)} of {want.numel()} places; at {list(at)}: {got[at]:g}, not {want[at]:g}"
    )


class Patchify(Exercise):
    """Cut images into patches in reading order, as the input of a transformer, and put them together again."""

    title = "Patches for a vision transformer"
    difficulty = 2
    minutes = 25
    id = "patchify"
    functions = ("patchify", "unpatchify")
    reference = attention
    forbid = (
        "torch.nn.functional.unfold",
        "torch.nn.functional.fold",
        "torch.nn.functional.pixel_unshuffle",
        "torch.nn.functional.pixel_shuffle",
        "torch.pixel_unshuffle",
        "torch.pixel_shuffle",
        "torch.nn.Unfold",
        "torch.nn.Fold",
        "torch.nn.PixelUnshuffle",
        "torch.nn.PixelShuffle",
        "einops",
    )
    hints = (
        "Take the 4 x 4 image with the numbers 0 to 15 and P = 2. Which four numbers belong into the first patch? "
        "Where do they stand in memory?",
        "A row number y splits into (which row of patches, which row inside the patch), a column number likewise. View "
        "the image with six dimensions, bring those that say which patch to the front, then flatten. unpatchify walks "
        "the same way back.",
        "img.reshape(B, C, H // P, P, W // P, P).permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * P * P). Back: "
        "patches.reshape(B, H // P, W // P, C, P, P).permute(0, 3, 1, 4, 2, 5).reshape(B, C, H, W).",
    )

    @check(hint="The first patch of the 4 x 4 image holds 0, 1, 4 and 5: two rows of two, not the first four numbers.")
    def cuts_a_small_image(self, student: Student, rng: Rng) -> None:
        img = counted_image(1, 1, 4, 4)
        want = torch.tensor([[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]).float()
        expect_numbers(student.patchify(img, 2), want, "for the numbers 0 to 15 and P = 2, the result")
        expect_numbers(student.patchify(img, 4), img.view(1, 1, 16), "for one patch as large as the image, the result")

    @check(hint="First which patch: row by row. Then where in it: all of channel 0 row by row, then channel 1.")
    def keeps_rows_columns_and_channels_apart(self, student: Student, rng: Rng) -> None:
        for batch, channels, rows, columns, P in ((1, 2, 2, 3, 2), (2, 3, 3, 2, rng.randint(2, 3))):
            img = counted_image(batch, channels, rows * P, columns * P)
            what = f"for an image of shape {tuple(img.shape)} and P = {P}, the result"
            expect_numbers(student.patchify(img, P), cut_out(img, P), what)

    @check(
        hint="The shapes of patchify, backwards; the inverse of permute(0, 2, 4, 1, 3, 5) is permute(0, 3, 1, 4, 2, 5)."
    )
    def puts_an_image_together(self, student: Student, rng: Rng) -> None:
        img = counted_image(1, 1, 4, 4)
        got = student.unpatchify(cut_out(img, 2), 2, 4, 4)
        expect_numbers(got, img, "for the numbers 0 to 15 and P = 2, the image")
        for batch, channels, rows, columns, P in ((1, 2, 2, 3, 2), (2, 3, 3, 2, rng.randint(2, 3))):
            img = counted_image(batch, channels, rows * P, columns * P)
            got = student.unpatchify(cut_out(img, P), P, rows * P, columns * P)
            expect_numbers(got, img, f"for patches of an image of shape {tuple(img.shape)}, the image")

    @check(hint="Patches that are no image's, too: whatever goes through unpatchify comes back through patchify.")
    def loses_nothing_on_the_way(self, student: Student, rng: Rng) -> None:
        img = rng.normal(2, 3, 6, 4)
        patches = student.patchify(img, 2)
        expect_numbers(patches, cut_out(img, 2), "for a drawn image, the result")
        expect_numbers(student.unpatchify(patches, 2, 6, 4), img, "there and back, the image")
        true(patches.numel() == img.numel(), f"{img.numel()} numbers became {patches.numel()}")

    @mistake("reshapes without permuting; that cuts the memory into pieces, not the image into squares")
    def only_reshaped(img, P):
        batch, channels, height, width = img.shape
        return img.reshape(batch, height // P * (width // P), channels * P * P)

    @mistake("goes through the patches column by column; reading order is row by row")
    def column_by_column(img, P):
        patches = attention.patchify(img, P)
        rows, columns = img.shape[2] // P, img.shape[3] // P
        return patches.unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)

    @mistake("lays the channels of a pixel side by side; all of channel 0 comes first, then channel 1")
    def channels_last(img, P):
        return attention.patchify(img, P).unflatten(2, (img.shape[1], P * P)).transpose(2, 3).flatten(2)

    @mistake("writes each patch down column by column; inside a patch, too, the order is row by row")
    def patch_transposed(img, P):
        return attention.patchify(img, P).unflatten(2, (img.shape[1], P, P)).transpose(3, 4).flatten(2)

    @mistake("makes patches that overlap; the next one begins where this one ends, P further")
    def overlapping(img, P):
        return F.unfold(img.float(), P, stride=max(1, P // 2)).transpose(1, 2).to(img.dtype)

    @mistake("makes a patch of each channel; one patch holds all channels of its square")
    def a_patch_for_each_channel(img, P):
        patches = attention.patchify(img, P)
        return patches.unflatten(2, (img.shape[1], P * P)).transpose(1, 2).flatten(1, 2)

    @mistake("returns the numbers of a patch first and the patches last; the patches are the sequence", of="patchify")
    def patches_last(img, P):
        return attention.patchify(img, P).transpose(1, 2).contiguous()

    @mistake("reshapes without permuting; so patches become stripes of the image", of="unpatchify")
    def back_only_reshaped(patches, P, H, W):
        return patches.reshape(len(patches), -1, H, W)

    @mistake("puts the patches down column by column; they come in reading order, row by row", of="unpatchify")
    def back_column_by_column(patches, P, H, W):
        patches = patches.unflatten(1, (W // P, H // P)).transpose(1, 2).flatten(1, 2)
        return attention.unpatchify(patches, P, H, W)

    @mistake("reads a patch as if the channels of a pixel lay side by side", of="unpatchify")
    def back_channels_last(patches, P, H, W):
        patches = patches.unflatten(2, (P * P, -1)).transpose(2, 3).flatten(2)
        return attention.unpatchify(patches, P, H, W)

    @mistake("fills each patch column by column; inside a patch, too, the order is row by row", of="unpatchify")
    def back_patch_transposed(patches, P, H, W):
        patches = patches.unflatten(2, (-1, P, P)).transpose(3, 4).flatten(2)
        return attention.unpatchify(patches, P, H, W)

    @mistake("returns the image lying on its side: H is the height, and W the width", of="unpatchify")
    def sides_swapped(patches, P, H, W):
        return attention.unpatchify(patches, P, H, W).transpose(2, 3).contiguous()
