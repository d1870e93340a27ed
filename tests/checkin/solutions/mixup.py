"""Solutions of `mixup`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def weighted(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner], lam * labels + (1 - lam) * labels[partner]


def loop(x, y, lam, partner):
    mixed_x, mixed_y = np.zeros_like(x), np.zeros_like(y)
    for a, b in enumerate(partner):
        mixed_x[a] = lam * x[a] + (1 - lam) * x[b]
        mixed_y[a] = lam * y[a] + (1 - lam) * y[b]
    return [mixed_x, mixed_y]


def as_a_matrix(images, labels, lam, partner):
    eye = np.eye(len(images))
    shares = lam * eye + (1 - lam) * eye[partner]  # (B, B)
    return np.tensordot(shares, images, axes=1), shares @ labels


def differences(images, labels, lam, partner):
    other_images, other_labels = np.take(images, partner, axis=0), np.take(labels, partner, axis=0)
    lam = np.float32(lam)
    return other_images + lam * (images - other_images), other_labels + lam * (labels - other_labels)


def labels_kept(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner], labels


def labels_of_the_other(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner], labels[partner]


def labels_swapped(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner], (1 - lam) * labels + lam * labels[partner]


def both_labels(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner], (labels + labels[partner]) / 2


def rounded(images, labels, lam, partner):
    mixed, shares = weighted(images, labels, lam, partner)
    return mixed, np.eye(labels.shape[1])[shares.argmax(axis=1)]


def images_kept(images, labels, lam, partner):
    return images, lam * labels + (1 - lam) * labels[partner]


def images_swapped(images, labels, lam, partner):
    return lam * images[partner] + (1 - lam) * images, lam * labels + (1 - lam) * labels[partner]


def swapped(images, labels, lam, partner):
    return lam * images[partner] + (1 - lam) * images, lam * labels[partner] + (1 - lam) * labels


def halves(images, labels, lam, partner):
    return (images + images[partner]) / 2, (labels + labels[partner]) / 2


def with_itself(images, labels, lam, partner):
    return lam * images + (1 - lam) * images, lam * labels + (1 - lam) * labels


def shuffled(images, labels, lam, partner):
    return images[partner], labels[partner]


def scattered(images, labels, lam, partner):
    others, of_others = np.empty_like(images), np.empty_like(labels)
    others[partner], of_others[partner] = images, labels
    return lam * images + (1 - lam) * others, lam * labels + (1 - lam) * of_others


def flipped(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[::-1], lam * labels + (1 - lam) * labels[::-1]


def in_turn(images, labels, lam, partner):
    images, labels = images.copy(), labels.copy()
    for i in range(len(images)):
        images[i] = lam * images[i] + (1 - lam) * images[partner[i]]
        labels[i] = lam * labels[i] + (1 - lam) * labels[partner[i]]
    return images, labels


def images_in_turn(images, labels, lam, partner):
    mixed = images.copy()
    for i, j in enumerate(partner):
        mixed[i] = lam * mixed[i] + (1 - lam) * mixed[j]
    return mixed, lam * labels + (1 - lam) * labels[partner]


def too_much(images, labels, lam, partner):
    return images + (1 - lam) * images[partner], labels + (1 - lam) * labels[partner]


def labels_first(images, labels, lam, partner):
    return weighted(images, labels, lam, partner)[::-1]


def cut(images, labels, lam, partner):
    rows = int(lam * images.shape[2])
    mixed = np.concatenate((images[:, :, :rows], images[partner][:, :, rows:]), axis=2)
    return mixed, lam * labels + (1 - lam) * labels[partner]


def drawn(images, labels, lam, partner):
    lam = np.random.default_rng(0).beta(0.8, 0.8)
    return weighted(images, labels, lam, partner)


def images_alone(images, labels, lam, partner):
    return lam * images + (1 - lam) * images[partner]


def in_place(images, labels, lam, partner):
    images *= lam
    images += (1 - lam) * images[partner] / lam
    return images, lam * labels + (1 - lam) * labels[partner]


def class_numbers(images, labels, lam, partner):
    mixed, shares = weighted(images, labels, lam, partner)
    return mixed, shares.argmax(axis=1)


def partner_forgotten(images, labels, lam):
    return weighted(images, labels, lam, np.arange(len(images))[::-1])


def nothing(images, labels, lam, partner):
    weighted(images, labels, lam, partner)


def assigned(images, labels, lam, partner):
    mixed, rows, classes = np.zeros_like(labels), np.arange(len(labels)), labels.argmax(axis=1)
    mixed[rows, classes] = lam
    mixed[rows, classes[partner]] = 1 - lam
    return weighted(images, labels, lam, partner)[0], mixed


def larger_share(images, labels, lam, partner):
    return weighted(images, labels, max(lam, 1 - lam), partner)


RIGHT = [weighted, loop, as_a_matrix, differences]
WRONG = {
    assigned: "value",
    larger_share: "value",
    labels_kept: "labels not mixed",
    labels_of_the_other: "labels not mixed",
    labels_swapped: "labels with the other lambda",
    both_labels: "labels half and half",
    rounded: "labels not mixed",
    images_kept: "images not mixed",
    images_swapped: "images with the other lambda",
    swapped: "lambda swapped",
    halves: "half and half",
    with_itself: "not mixed",
    shuffled: "partners alone",
    scattered: "other permutation",
    flipped: "from the other end",
    in_turn: "one after the other",
    images_in_turn: "one after the other",
    too_much: "not an average",
    labels_first: "outputs swapped",
    cut: "value",
    drawn: "value",
    images_alone: "number of outputs",
    in_place: "input changed",
    class_numbers: "shape",
    partner_forgotten: "TypeError",
    nothing: "no output",
}
