"""Solutions of `parameter_count`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import math

import numpy as np


def dense(inputs, outputs):
    return inputs * outputs + outputs


def layer_by_layer(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
    tokens = 1 + (image_size // patch_size) ** 2
    total = dense(patch_size * patch_size * channels, dim)
    total += dim + tokens * dim
    for _ in range(depth):
        total += 2 * dim + dense(dim, 3 * dim) + dense(dim, dim)
        total += 2 * dim + dense(dim, mlp_dim) + dense(mlp_dim, dim)
    return total + 2 * dim + dense(dim, num_classes)


def formula(image_size, patch_size, c, d, layers, heads, m, k):
    n = image_size**2 // patch_size**2
    block = 4 * d**2 + 2 * d * m + 9 * d + m
    return (patch_size**2 * c + n + 3) * d + layers * block + 2 * d + (d + 1) * k


def by_shapes(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
    side = image_size // patch_size
    head = dim // num_heads
    block = [(dim,)] * 4 + [(num_heads, dim, 3 * head), (3 * dim,), (dim, dim), (dim,)]
    block += [(mlp_dim, dim), (mlp_dim,), (dim, mlp_dim), (dim,)]
    shapes = [(dim, channels, patch_size, patch_size), (dim,), (1, 1, dim), (1, side * side + 1, dim)]
    shapes += block * depth + [(dim,), (dim,), (num_classes, dim), (num_classes,)]
    return sum(math.prod(shape) for shape in shapes)


def as_array(*sizes):
    return np.array(layer_by_layer(*sizes))


def count(
    P,
    C,
    N,
    D,
    L,
    H,
    M,
    K,
    patches=1,
    positions=1,
    cls=1,
    last=2,
    norms=4,
    qkv=3,
    out=1,
    heads=1,
    layers=2,
    bias=1,
    head=1,
):
    """The count with a choice of faults."""
    block = norms * D + heads * (qkv + out) * (D + bias) * D
    block += (D + bias) * M + ((M + bias) * D if layers == 2 else 0)
    total = patches * (P * P * C + bias) * D + cls * D + positions * D * (N + 1) + L * block
    return total + last * D + head * (D + bias) * K


def with_fault(**fault):
    def solution(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
        n = (image_size // patch_size) ** 2
        return count(patch_size, channels, n, dim, depth, num_heads, mlp_dim, num_classes, **fault)

    return solution


def heads_counted(image_size, patch_size, c, d, depth, num_heads, m, k):
    return count(patch_size, c, (image_size // patch_size) ** 2, d, depth, 1, m, k, heads=num_heads)


def matrix_each(image_size, patch_size, c, d, depth, num_heads, m, k):
    n = (image_size // patch_size) ** 2
    return count(patch_size, c, n, d, depth, 1, m, k, patches=n)


def not_squared(image_size, patch_size, c, d, depth, num_heads, m, k):
    right = formula(image_size, patch_size, c, d, depth, num_heads, m, k)
    return right - patch_size**2 * c * d + patch_size * c * d


def grey(image_size, patch_size, c, d, depth, num_heads, m, k):
    return formula(image_size, patch_size, 1, d, depth, num_heads, m, k)


def one_row(image_size, patch_size, c, d, depth, num_heads, m, k):
    return count(patch_size, c, image_size // patch_size, d, depth, 1, m, k)


def confused(image_size, patch_size, c, d, depth, num_heads, m, k):
    return count(patch_size, c, patch_size**2, d, depth, 1, m, k)


def one_block(image_size, patch_size, c, d, depth, num_heads, m, k):
    return formula(image_size, patch_size, c, d, 1, num_heads, m, k)


def without(part):
    def solution(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes):
        right = formula(image_size, patch_size, channels, dim, depth, num_heads, mlp_dim, num_classes)
        return right - part(dim, depth, mlp_dim, num_classes)

    return solution


def side_as_float(image_size, patch_size, c, d, depth, num_heads, m, k):
    return count(patch_size, c, (image_size / patch_size) ** 2, d, depth, 1, m, k)


def in_millions(*sizes):
    return formula(*sizes) / 1e6


def parts(*sizes):
    return {"all": formula(*sizes)}


def several(*sizes):
    return 0, formula(*sizes)


def in_an_array(*sizes):
    return np.array([formula(*sizes)])


def other_width(image_size, patch_size, c, d, depth, num_heads, m, k):
    return formula(image_size, patch_size, c, d, depth, num_heads, 4 * d, k)


def fewer_arguments(image_size, patch_size, channels, dim, depth, mlp_dim, num_classes):
    return formula(image_size, patch_size, channels, dim, depth, 1, mlp_dim, num_classes)


def nothing(*sizes):
    formula(*sizes)


RIGHT = [layer_by_layer, formula, by_shapes, as_array]
WRONG = {
    heads_counted: "heads counted",
    matrix_each: "a matrix for each patch",
    not_squared: "patch side not squared",
    grey: "channels forgotten",
    with_fault(patches=0): "patch embedding forgotten",
    one_row: "patches of one row",
    confused: "patch and grid confused",
    with_fault(positions=0): "positions forgotten",
    with_fault(positions=0, cls=0): "class token and positions forgotten",
    with_fault(cls=0): "D short",
    with_fault(last=0): "2 D short",
    one_block: "one block",
    with_fault(norms=0, last=0): "norms forgotten",
    with_fault(norms=2, last=1): "gamma alone",
    with_fault(norms=0): "4 D short in each block",
    with_fault(norms=2): "2 D short in each block",
    without(lambda D, L, M, K: 3 * D * L): "3 D short in each block",
    without(lambda D, L, M, K: D * L): "D short in each block",
    without(lambda D, L, M, K: (M + D) * L): "biases of the MLP forgotten",
    without(lambda D, L, M, K: M * L): "M short in each block",
    without(lambda D, L, M, K: (M + 5 * D) * L): "biases of the blocks forgotten",
    with_fault(bias=0): "biases forgotten",
    with_fault(out=0): "output projection forgotten",
    with_fault(qkv=1): "q, k, v as one",
    with_fault(layers=1): "one layer of the MLP",
    with_fault(head=0): "classifier forgotten",
    without(lambda D, L, M, K: K): "K short",
    side_as_float: "dtype",
    in_millions: "value",
    other_width: "value",
    parts: "no output",
    several: "number of outputs",
    in_an_array: "shape",
    fewer_arguments: "TypeError",
    nothing: "no output",
}
