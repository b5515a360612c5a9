"""Images as sequences: an image cut into patches, in reading order, is what a transformer takes for tokens."""

import torch
from torch import Tensor, nn

from course_lib.attention._arguments import require_int, require_tensor


def patchify(img: Tensor, P: int) -> Tensor:
    """Cut images into squares of P x P pixels: [B, C, H, W] gives [B, (H/P)(W/P), C P P].

    The patches stand in reading order (row by row, from the left), and so do the numbers inside one: all of channel
    0, row by row, then channel 1. That is the order of a convolution's weights, so a linear layer on patches equals
    a convolution with stride P. ValueError unless P divides H and W.
    Source: An Image is Worth 16x16 Words (Dosovitskiy et al. 2021), section 3.1.

    >>> patchify(torch.arange(16).view(1, 1, 4, 4), 2)[0]
    tensor([[ 0,  1,  4,  5],
            [ 2,  3,  6,  7],
            [ 8,  9, 12, 13],
            [10, 11, 14, 15]])
    """
    require_tensor("img", img, "[B, C, H, W]")
    require_int("P", P, 1)
    batch, channels, height, width = img.shape
    _require_divisible(height, width, P)
    tiles = img.reshape(batch, channels, height // P, P, width // P, P)
    # [B, C, rows, P, columns, P] -> [B, rows, columns, C, P, P]: first which patch, then where inside it.
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // P * (width // P), channels * P * P)


def unpatchify(patches: Tensor, P: int, H: int, W: int) -> Tensor:
    """Put the patches together again: [B, (H/P)(W/P), C P P] gives [B, C, H, W], the inverse of `patchify`.

    ValueError for a number or a size of patches that does not belong to H, W and P.

    >>> img = torch.randn(2, 3, 4, 6)
    >>> torch.equal(unpatchify(patchify(img, 2), 2, 4, 6), img)
    True
    """
    require_tensor("patches", patches, "[B, N, C P P]")
    for name, value in {"P": P, "H": H, "W": W}.items():
        require_int(name, value, 1)
    _require_divisible(H, W, P)
    batch, number, size = patches.shape
    rows, columns = H // P, W // P
    if number != rows * columns or size % (P * P):
        expected = f"(B, {rows * columns}, C * {P * P})"
        raise ValueError(f"patches: expected shape {expected}, got {tuple(patches.shape)}")
    channels = size // (P * P)
    tiles = patches.reshape(batch, rows, columns, channels, P, P)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, H, W)


class PatchEmbedding(nn.Module):
    """Turn images into the input of a transformer: [B, C, H, W] to [B, 1 + (H/P)(W/P), d_model].

    Each patch goes through one linear layer, a learned class token is put in front, and a learned position is added
    to each. Positions start as N(0, 0.02). ValueError unless `patch` divides `height` and `width`.
    Source: Dosovitskiy et al. 2021, eq. 1.

    >>> PatchEmbedding(height=8, width=8, patch=4, channels=3, d_model=16)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(self, height: int, width: int, patch: int, channels: int, d_model: int) -> None:
        super().__init__()
        sizes = {"height": height, "width": width, "patch": patch, "channels": channels, "d_model": d_model}
        for name, value in sizes.items():
            require_int(name, value, 1)
        _require_divisible(height, width, patch)
        self.patch = patch
        self.projection = nn.Linear(channels * patch * patch, d_model)
        self.class_token = nn.Parameter(torch.zeros(d_model))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + (height // patch) * (width // patch), d_model))

    def forward(self, img: Tensor) -> Tensor:
        tokens = self.projection(patchify(img, self.patch))
        if tokens.shape[1] + 1 != len(self.positions):
            raise ValueError(f"img: expected {len(self.positions) - 1} patches, got {tokens.shape[1]}")
        first = self.class_token.expand(len(img), 1, -1)
        return torch.cat([first, tokens], dim=1) + self.positions


def _require_divisible(height: int, width: int, P: int) -> None:
    if height % P or width % P:
        raise ValueError(f"P: expected a number that divides height and width, {height} x {width}, got {P}")
