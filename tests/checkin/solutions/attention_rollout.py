"""Solutions of `attention_rollout`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import functools

import numpy as np


def from_the_left(maps):
    L, _, _, N, _ = maps.shape
    R = np.eye(N)
    for layer in range(L):
        R = 0.5 * (maps[layer].mean(axis=1) + np.eye(N)) @ R
    return R[:, 0, 1:]


def one_image_at_a_time(maps):
    rows = []
    for image in range(maps.shape[1]):
        A = [np.eye(maps.shape[-1]) + heads.mean(axis=0) for heads in maps[:, image]]
        A = [block / block.sum(axis=1, keepdims=True) for block in A]
        rows.append(functools.reduce(np.matmul, A[::-1])[0, 1:])
    return np.array(rows)


def row_alone(maps):
    """The row of the class token is taken through the blocks from the last to the first."""
    row = np.zeros((maps.shape[1], maps.shape[-1]))
    row[:, 0] = 1
    for A in maps[::-1]:
        row = 0.5 * row + 0.5 * np.einsum("bi,bhij->bj", row, A) / A.shape[1]
    return row[:, 1:]


def multi_dot(maps):
    A = maps.sum(axis=2, dtype=np.float64) / maps.shape[2]
    A = (A + np.eye(A.shape[-1])) / 2
    if len(A) == 1:
        return A[0][:, 0, 1:]
    return np.stack([np.linalg.multi_dot([*A[::-1, image]])[0, 1:] for image in range(A.shape[1])])


def matrices(maps):
    mixed = maps.mean(axis=2) + np.eye(maps.shape[-1])
    return mixed / mixed.sum(axis=-1, keepdims=True)


def multiplied(matrices):
    R = matrices[0]
    for matrix in matrices[1:]:
        R = matrix @ R
    return R


def no_identity(maps):
    return multiplied(maps.mean(axis=2))[:, 0, 1:]


def backwards(maps):
    R = np.eye(maps.shape[-1])
    for A in maps:
        R = R @ (0.5 * A.mean(axis=1) + 0.5 * np.eye(maps.shape[-1]))
    return R[:, 0, 1:]


def not_halved(maps):
    return multiplied(maps.mean(axis=2) + np.eye(maps.shape[-1]))[:, 0, 1:]


def columns(maps):
    A = maps.mean(axis=2) + np.eye(maps.shape[-1])
    return multiplied(A / A.sum(axis=2, keepdims=True))[:, 0, 1:]


def largest_head(maps):
    A = maps.max(axis=2) + np.eye(maps.shape[-1])
    return multiplied(A / A.sum(axis=-1, keepdims=True))[:, 0, 1:]


def smallest_head(maps):
    A = maps.min(axis=2) + np.eye(maps.shape[-1])
    return multiplied(A / A.sum(axis=-1, keepdims=True))[:, 0, 1:]


def heads_added(maps):
    A = maps.sum(axis=2) + np.eye(maps.shape[-1])
    return multiplied(A / A.sum(axis=-1, keepdims=True))[:, 0, 1:]


def heads_added_and_halved(maps):
    return multiplied([0.5 * (A.sum(axis=1) + np.eye(A.shape[-1])) for A in maps])[:, 0, 1:]


def by_elements(maps):
    R = 1.0
    for A in matrices(maps):
        R = A * R
    return R[:, 0, 1:]


def averaged(maps):
    return matrices(maps).mean(axis=0)[:, 0, 1:]


def last_block(maps):
    return matrices(maps)[-1, :, 0, 1:]


def loop_overwrites(maps):
    for A in matrices(maps)[::-1]:
        R = A
    return R[:, 0, 1:]


def raw_attention(maps):
    return maps[-1, :, :, 0, 1:].mean(axis=1)


def column(maps):
    return multiplied(matrices(maps))[:, 1:, 0]


def last_row(maps):
    return multiplied(matrices(maps))[:, -1, :-1]


def with_class_token(maps):
    return multiplied(matrices(maps))[:, 0]


def last_left_out(maps):
    return multiplied(matrices(maps))[:, 0, :-1]


def whole(maps):
    return multiplied(matrices(maps))


def normalised_again(maps):
    shares = multiplied(matrices(maps))[:, 0, 1:]
    return shares / shares.sum(axis=-1, keepdims=True)


def for_a_picture(maps):
    shares = multiplied(matrices(maps))[:, 0, 1:]
    return shares / shares.max(axis=-1, keepdims=True)


def mean_of_images(maps):
    return from_the_left(maps).mean(axis=0)


def wrong_axis_of_heads(maps):
    return multiplied(maps.mean(axis=1) / 2 + np.eye(maps.shape[-1]) / 2)[:, 0, 1:]


def first_image(maps):
    return from_the_left(maps)[0]


def half_once(maps):
    return 0.5 * multiplied(maps.mean(axis=2) + np.eye(maps.shape[-1]))[:, 0, 1:]


def first_head(maps):
    return from_the_left(maps[:, :, :1])


def wrong_identity(maps):
    return multiplied(0.5 * (maps.mean(axis=2) + np.eye(maps.shape[1])))[:, 0, 1:]


def in_place(maps):
    maps *= 0.5
    maps += 0.5 * np.eye(maps.shape[-1])
    return multiplied(maps.mean(axis=2))[:, 0, 1:]


def nothing(maps):
    from_the_left(maps)


def squeezed(maps):
    return from_the_left(maps).squeeze()


RIGHT = [from_the_left, one_image_at_a_time, row_alone, multi_dot]
WRONG = {
    squeezed: "shape",
    no_identity: "identity forgotten",
    backwards: "order reversed",
    not_halved: "not halved",
    columns: "columns normalised",
    largest_head: "maximum of the heads",
    smallest_head: "minimum of the heads",
    heads_added: "sum of the heads",
    heads_added_and_halved: "sum of the heads halved",
    by_elements: "element by element",
    averaged: "blocks averaged",
    last_block: "one block",
    loop_overwrites: "one block",
    raw_attention: "attention of the last block",
    column: "column of the class token",
    last_row: "last row",
    with_class_token: "class token kept",
    last_left_out: "last patch left out",
    whole: "whole matrix",
    normalised_again: "shares normalised again",
    for_a_picture: "divided by the largest",
    mean_of_images: "images averaged",
    wrong_axis_of_heads: "shape",
    first_image: "shape",
    half_once: "value",
    first_head: "value",
    wrong_identity: "ValueError",
    in_place: "input changed",
    nothing: "no output",
}
