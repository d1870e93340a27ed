"""Solutions of `adamw_groups`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def comprehension(names, shapes):
    return np.array([name.endswith("weight") and len(shape) > 1 for name, shape in zip(names, shapes, strict=True)])


def two_masks(names, shapes):
    is_weight = np.char.endswith(names, "weight")
    return is_weight & (np.array([len(shape) for shape in shapes]) >= 2)


def exclusions(names, shapes):
    decays = np.ones(len(names), dtype=bool)
    for place, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if name.split(".")[-1] in ("bias", "beta", "gamma", "cls", "pos_embedding") or len(shape) < 2:
            decays[place] = False
    return decays


def by_axes(names, shapes):
    return np.isin([len(shape) for shape in shapes], (2, 4))


def dictionary(shapes, names):
    shape_of = dict(zip(names, shapes, strict=True))
    matrices = {name for name in names if name.split(".")[-1] == "weight" and np.ndim(np.empty(shape_of[name])) >= 2}
    return np.asarray([name in matrices for name in names])


def a_list(names, shapes):
    return comprehension(names, shapes).tolist()


def zeros(names, shapes):
    return np.zeros(len(names), bool)


def ones(names, shapes):
    return np.ones(len(names), bool)


def no_decay(names, shapes):
    return ~comprehension(names, shapes)


def places(names, shapes):
    return np.where(comprehension(names, shapes))[0]


def no_biases(names, shapes):
    return np.array(["bias" not in name for name in names])


def no_vectors(names, shapes):
    return np.array([len(shape) != 1 for shape in shapes])


def only_positions_named(names, shapes):
    return np.array([len(shape) > 1 and name != "pos_embedding" for name, shape in zip(names, shapes, strict=True)])


def only_class_token_named(names, shapes):
    return np.array([len(shape) > 1 and name != "cls" for name, shape in zip(names, shapes, strict=True)])


def no_biases_no_embeddings(names, shapes):
    left_out = ("bias", "cls", "pos_embedding")
    return np.array([not name.endswith(left_out) for name in names])


def gamma_kept(names, shapes):
    return np.array([name.split(".")[-1] in ("weight", "gamma") for name in names])


def by_name(names, shapes):
    return np.array([name.endswith("weight") for name in names])


def no_norms_no_embeddings(names, shapes):
    left_out = ("gamma", "beta", "cls", "pos_embedding")
    return np.array([not name.endswith(left_out) for name in names])


def matrices_alone(names, shapes):
    return np.array([len(shape) == 2 for shape in shapes])


def as_numbers(names, shapes):
    return comprehension(names, shapes).astype(int)


def rates(names, shapes):
    return np.where(comprehension(names, shapes), 0.05, 0.0)


def chosen_names(names, shapes):
    return [name for name, decays in zip(names, comprehension(names, shapes), strict=True) if decays]


def two_groups(names, shapes):
    decays = comprehension(names, shapes)
    return decays, ~decays


def one_of_all(names, shapes):
    return comprehension(names, shapes).any()


def other_names(parameters, sizes):
    return comprehension(parameters, sizes)


def nothing(names, shapes):
    comprehension(names, shapes)


def no_rows(names, shapes):
    pairs = zip(names, shapes, strict=True)
    return np.array([name.endswith("weight") and len(shape) > 1 and shape[0] > 1 for name, shape in pairs])


def no_cls(names, shapes):
    pairs = zip(names, shapes, strict=True)
    return np.array([name.endswith("weight") and len(shape) > 1 and "cls" not in name for name, shape in pairs])


RIGHT = [comprehension, two_masks, exclusions, by_axes, dictionary, a_list]
WRONG = {
    no_rows: "value",
    no_cls: "value",
    zeros: "nothing decays",
    ones: "everything decays",
    no_decay: "reversed",
    places: "indices",
    no_biases: "biases alone left out",
    no_vectors: "vectors alone left out",
    only_positions_named: "class token decays",
    only_class_token_named: "positions decay",
    no_biases_no_embeddings: "LayerNorm decays",
    gamma_kept: "gamma decays",
    by_name: "gamma decays",
    no_norms_no_embeddings: "biases decay",
    matrices_alone: "kernels left out",
    as_numbers: "dtype",
    rates: "value",
    chosen_names: "no output",
    two_groups: "number of outputs",
    one_of_all: "shape",
    other_names: "TypeError",
    nothing: "no output",
}
