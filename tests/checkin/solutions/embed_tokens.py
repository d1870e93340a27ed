"""Solutions of `embed_tokens`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def tiled(patches, class_token, positions):
    b = patches.shape[0]
    return ops.cat([ops.tile(class_token, (b, 1, 1)), patches], 1) + positions


def broadcast(x, c, p):
    b, _, d = x.shape
    return ops.concat((c.broadcast_to((b, 1, d)), x), axis=1).add(p)


def added_apart(patches, class_token, positions):
    patches = patches + positions[:, 1:]
    first = class_token + positions[:, :1]
    return ops.concat((ops.tile(first, (patches.shape[0], 1, 1)), patches), axis=1)


def padded(patches, class_token, positions):
    b, n, d = patches.shape
    is_first = ops.concat((ops.ones((1, 1, 1)), ops.zeros((1, n, 1))), axis=1)
    shifted = ops.concat((ops.zeros((b, 1, d)), patches), axis=1)
    return shifted + is_first * class_token + positions


def image_by_image(patches, class_token, positions):
    return ops.stack([ops.concat((class_token[0], image)) + positions[0] for image in patches])


def last(patches, class_token, positions):
    b = patches.shape[0]
    return ops.cat([patches, ops.tile(class_token, (b, 1, 1))], 1) + positions


def class_token_without(patches, class_token, positions):
    patches = patches + positions[:, 1:, :]
    return ops.cat([ops.tile(class_token, (patches.shape[0], 1, 1)), patches], 1)


def one_off(patches, class_token, positions):
    patches = patches + positions[:, : patches.shape[1]]
    return ops.cat([ops.tile(class_token, (patches.shape[0], 1, 1)), patches], 1)


def no_positions(patches, class_token, positions):
    return ops.cat([ops.tile(class_token, (patches.shape[0], 1, 1)), patches], 1)


def patches_alone(patches, class_token, positions):
    return patches + positions[:, 1:]


def first_positions(patches, class_token, positions):
    return patches + positions[:, : patches.shape[1]]


def everywhere(patches, class_token, positions):
    return tiled(patches + class_token, class_token, positions)


def own_zeros(patches, class_token, positions):
    b, _, d = patches.shape
    return ops.cat([ops.zeros((b, 1, d), ms.float32), patches], 1) + positions


def times(patches, class_token, positions):
    return no_positions(patches, class_token, positions) * positions


def wider(patches, class_token, positions):
    x = no_positions(patches, class_token, positions)
    return ops.cat([x, ops.broadcast_to(positions, x.shape)], -1)


def longer(patches, class_token, positions):
    x = no_positions(patches, class_token, positions)
    return ops.cat([x, ops.broadcast_to(positions, x.shape)], 1)


def one_sequence(patches, class_token, positions):
    x = ops.cat([class_token[0], patches.reshape(-1, patches.shape[-1])])
    return (x[: positions.shape[1]] + positions[0]).expand_dims(0)


def not_repeated(patches, class_token, positions):
    return ops.concat((class_token, patches), axis=1) + positions


def wrong_axis(patches, class_token, positions):
    b, n, _ = patches.shape
    return ops.concat((ops.tile(class_token, (b, n, 1)), patches), axis=2)


def reversed_positions(patches, class_token, positions):
    return tiled(patches, class_token, positions.flip((1,)))


def in_numpy(patches, class_token, positions):
    first = np.repeat(class_token.asnumpy(), patches.shape[0], axis=0)
    return Tensor(np.concatenate([first, patches.asnumpy()], axis=1) + positions.asnumpy())


def class_token_detached(patches, class_token, positions):
    return tiled(patches, Tensor(class_token.asnumpy()), positions)


def doubled(patches, class_token, positions):
    return tiled(patches, class_token, positions).astype(ms.float64)


def nothing(patches, class_token, positions):
    tiled(patches, class_token, positions)


RIGHT = [tiled, broadcast, added_apart, padded, image_by_image]
WRONG = {
    last: "class token last",
    class_token_without: "no position for the class token",
    one_off: "positions one place off",
    no_positions: "positions forgotten",
    patches_alone: "class token forgotten",
    first_positions: "class token forgotten",
    everywhere: "class token added to the patches",
    own_zeros: "class token of zeros",
    times: "multiplied",
    wider: "positions beside the tokens",
    longer: "positions as tokens",
    one_sequence: "images joined",
    not_repeated: "ValueError",
    wrong_axis: "shape",
    reversed_positions: "value",
    in_numpy: "gradient",
    class_token_detached: "gradient",
    doubled: "dtype",
    nothing: "no output",
}
