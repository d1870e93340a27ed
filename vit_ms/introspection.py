"""What one looks at inside a trained ViT, as arrays: attention, positions, filters. Drawing them is left to the caller.

Shape comments: L blocks, B images, H heads, N tokens, D embed_dim, d = D / H, P patch size, C channels.
"""

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.models.vit import ViT


class AttentionMaps(nn.Cell):
    """The weights of every attention of a ViT, as a cell, which graph mode compiles once.

    Args:
        network (ViT): of vit_ms, also distilled, hybrid or with relative positions.

    Inputs:
        - **images** (Tensor): (B, C, height, width), float32.

    Outputs:
        Tensor, (L, B, H, N, N), float32, as of `attention_maps`.

    Reference:
        Dosovitskiy et al. 2021, equations 5 and 6.
    """

    def __init__(self, network: ViT):
        super().__init__(auto_prefix=False)
        self.network = network
        # Not looked up in construct: the compiler can mix up a SequentialCell that is called and indexed there.
        branches = [block[0].cell for block in network.transformer.layers]
        self.norms = [branch[0] for branch in branches]
        self.attentions = [branch[1] for branch in branches]

    def construct(self, images):
        x = self.network.embed_tokens(self.network.embed_patches(images))  # (B, N, D)
        maps = ()
        for layer, block in enumerate(self.network.transformer.layers):
            maps += (self.weights(self.norms[layer], self.attentions[layer], x),)
            x = block(x)
        return ops.stack(maps, 0)

    def weights(self, norm, attention, x):
        """What `Attention.construct` multiplies v by: (B, H, N, N)."""
        b, n, _ = x.shape
        bias = None if attention.position_bias is None else attention.position_bias()
        qkv = attention.qkv(norm(x)).reshape(b, n, 3, attention.num_heads, attention.head_dim)
        q, k, _ = ops.unstack(qkv.transpose(2, 0, 3, 1, 4), axis=0)  # each (B, H, N, d)
        return F.attention_weights(q, k, bias).astype(mstype.float32)


def _check_vit(network: nn.Cell) -> None:
    if not isinstance(network, ViT):
        raise UserError(f"the network is a {type(network).__name__}; it must be a ViT or one of its relatives")


def attention_maps(network: ViT, images: np.ndarray | Tensor) -> np.ndarray:
    """The attention weights of every block and head for a batch of images: softmax(q k^T / sqrt(d) + bias).

    They come from the network's own cells, in its own arithmetic. In graph mode each call compiles once: it is better given
    many images at once than one after the other, or `AttentionMaps` is kept.

    Args:
        network (ViT): of vit_ms, also distilled, hybrid or with relative positions; it is put into evaluation mode.
        images (np.ndarray or Tensor): what the network takes, (B, C, height, width), float32.

    Returns:
        np.ndarray, (L, B, H, N, N), float32: [l, b, h, i, j] is what token i of image b takes from token j. The first
        network.NUM_PREFIX tokens are the class token and its like, the others the patches, row by row.

    Raises:
        UserError: If the network is no ViT.

    Reference:
        Dosovitskiy et al. 2021, equations 5 and 6.
    """
    _check_vit(network)
    images = images if isinstance(images, Tensor) else Tensor(np.asarray(images, np.float32))
    return AttentionMaps(network).set_train(False)(images).asnumpy()


def attention_rollout(maps: np.ndarray) -> np.ndarray:
    """What each token after the last block is made of, in shares of those before the first, if attention alone mixed them.

    A block's matrix is half the mean over its heads and half the identity, which stands for the residual connection. The
    blocks' matrices are multiplied up. The MLPs and the values v have no part in it.

    Args:
        maps (np.ndarray): (L, B, H, N, N), of `attention_maps`.

    Returns:
        np.ndarray, (B, N, N), float32; each row sums to 1.

    Reference:
        Abnar & Zuidema 2020, section 3, "attention rollout"; Dosovitskiy et al. 2021, appendix D.8.
    """
    _check_maps(maps)
    mixed = maps.mean(axis=2, dtype=np.float64) + np.eye(maps.shape[-1])  # (L, B, N, N)
    mixed /= mixed.sum(axis=-1, keepdims=True)
    rollout = mixed[0]
    for layer in mixed[1:]:
        rollout = layer @ rollout
    return rollout.astype(np.float32)


def attention_distance(maps: np.ndarray, grid: tuple[int, int], patch_size: int) -> np.ndarray:
    """How far away, in pixels, the patches are that a head attends to: the mean of the distance, weighted by attention.

    Distances are between the centres of patches, and the mean is over all images and all patches that ask. Only patches
    count: the class token has no place, so weights to it are left out and the others made to sum to 1.

    Args:
        maps (np.ndarray): (L, B, H, N, N), of `attention_maps`.
        grid (tuple): rows and columns of patches.
        patch_size (int): P, of a patch in pixels of the image.

    Returns:
        np.ndarray, (L, H), float32.

    Raises:
        UserError: If there are more patches than tokens, or patch_size is below 1.

    Reference:
        Dosovitskiy et al. 2021, figure 7, right, and appendix D.7.
    """
    _check_maps(maps)
    check_positive(patch_size=patch_size)
    rows, columns = grid
    prefix = maps.shape[-1] - rows * columns
    if prefix < 0:
        raise UserError(f"grid is {grid}, which are more patches than the {maps.shape[-1]} tokens of the maps")
    places = np.indices(grid).reshape(2, -1) * patch_size  # (2, patches)
    distances = np.sqrt(((places[:, :, None] - places[:, None, :]) ** 2).sum(axis=0))  # (patches, patches)
    weights = maps[..., prefix:, prefix:].astype(np.float64)
    weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-30)
    return (weights * distances).sum(axis=-1).mean(axis=(1, 3)).astype(np.float32)


def position_similarity(network: ViT) -> np.ndarray:
    """The cosine of the angle between the position embeddings of each two patches.

    Args:
        network (ViT): of vit_ms, with position embeddings, learned or fixed.

    Returns:
        np.ndarray, (rows, columns, rows, columns), float32, in [-1, 1]: [i, j] is the picture for the patch in row i and
        column j.

    Raises:
        UserError: If the network is no ViT or adds no position embeddings to its tokens.

    Reference:
        Dosovitskiy et al. 2021, figure 7, centre, and appendix D.4.
    """
    _check_vit(network)
    if network.position == "learned_1d":
        positions = network.pos_embedding[0, network.NUM_PREFIX :]
    elif network.position == "learned_2d":
        positions = network.pos_embedding_2d()[0]
    elif network.position == "sincos_2d":
        positions = network.pos_sincos[0]
    else:
        raise UserError(f"position is {network.position!r}: this network adds no position embeddings to its tokens")
    positions = positions.asnumpy().astype(np.float64)  # (patches, D)
    positions /= np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1e-30)
    grid = network.patch_embedding.grid
    return np.clip(positions @ positions.T, -1.0, 1.0).reshape(*grid, *grid).astype(np.float32)


def embedding_filters(network: ViT) -> np.ndarray:
    """The principal components of the D filters of the patch embedding, those with most variance first.

    Each is as long as the standard deviation of the filters along it: the sum of its squares is its variance, and divided by
    the sum over all components its share. Of its two signs it has the one with which its largest number is positive.

    Args:
        network (ViT): of vit_ms.

    Returns:
        np.ndarray, (min(D, P P C), P, P, C), float32.

    Raises:
        UserError: If the network is no ViT.

    Reference:
        Dosovitskiy et al. 2021, figure 7, left.
    """
    _check_vit(network)
    filters = network.patch_embedding.conv.weight.asnumpy().transpose(0, 2, 3, 1)  # (D, P, P, C)
    rows = filters.reshape(len(filters), -1).astype(np.float64)
    _, deviations, components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    components *= deviations[:, None] / len(rows) ** 0.5
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components *= np.where(largest < 0, -1.0, 1.0)
    return components.reshape(-1, *filters.shape[1:]).astype(np.float32)


def _check_maps(maps: np.ndarray) -> None:
    if maps.ndim != 5 or maps.shape[-1] != maps.shape[-2]:
        raise UserError(f"maps has the shape {maps.shape}; it must be (L, B, H, N, N)")
