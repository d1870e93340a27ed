"""The commands: python -m vit_ms train, eval, predict ... `_parser` has them all."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from vit_ms import __version__, environment
from vit_ms.errors import Interrupted, UserError

# What needs MindSpore is imported by the command that needs it: --help answers at once, and a wrong version is one line.

MODES = {"0": "graph", "1": "pynative"}  # mindcv's numbers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vit_ms",
        description="Train, evaluate and use Vision Transformers on MindSpore.",
        epilog="example: python -m vit_ms train --config digits",
    )
    parser.add_argument("--version", action="version", version=f"vit_ms {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run, text: str, example: str) -> argparse.ArgumentParser:
        name = run.__name__.strip("_").replace("_", "-")
        added = commands.add_parser(
            name, help=text, description=text, epilog=f"example: python -m vit_ms {name} {example}", allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    train = command(_train, "Train a model as a recipe says.", "--config digits --seed 1 --ckpt_save_dir runs/seed1")
    evaluate = command(_eval, "Measure a checkpoint on held-out images.", "--ckpt_path runs/digits/best.ckpt")
    predict = command(_predict, "Say what is in images.", "photo.jpg folder/ --ckpt_path runs/digits/best.ckpt")
    explore = command(
        _explore,
        "Open a page in the browser to draw on and to look into one checkpoint, or two side by side.",
        "--ckpt_path runs/digits/best.ckpt",
    )
    few_shot = command(
        _few_shot,
        "Measure a checkpoint's features by what simple classifiers learn from a few images.",
        "--ckpt_path runs/digits/best.ckpt",
    )
    pretrain = command(_pretrain, "Train a ViT on images without labels: masked patch prediction.", "--config digits")
    ablate = command(_ablate, "Train a recipe with each kind of position embedding and compare.", "--seeds 5 --jobs 2")
    masked = command(
        _masked_patches, "Measure what pretraining without labels gains where labels are few.", "--seeds 5"
    )
    check = command(_check_data, "Read every image of a folder once and list the broken ones.", "--data_dir photos")
    prepare = command(_prepare, "Pack a dataset into MindRecord files.", "--data_dir photos --output photos_mindrecord")
    examine = command(_doctor, "Say what is installed here, how it will run, and what to do about what is lacking.", "")
    checkin = command(
        _checkin, "What a learner has done, as a card to post and a record to verify.", "card --day 1 --name Ming"
    )
    models = command(_list, "List models, recipes and datasets.", "'vit_b*'")
    convert = command(
        _convert, "Save other libraries' weights as ours.", "ViT-B_16-224.npz vit_b_16.ckpt --model vit_b_16"
    )
    export = command(
        _export, "Write a checkpoint for other programs.", "--ckpt_path runs/digits/best.ckpt --format onnx"
    )
    bench = command(
        _bench, "Measure speed on this machine, beside the course's operations, mindcv and timm.", "--quick"
    )

    for action in (train, pretrain, ablate, masked):
        action.add_argument("--config", default="digits", help="a recipe's name or YAML file (default digits)")
    train.add_argument("--model", help="one of `list`, in place of the recipe's")
    train.add_argument("--dataset", help="one of `list`, in place of the recipe's")
    for action in (train, pretrain, ablate, masked):
        action.add_argument("--epoch_size", type=int, help="epochs; the warm-up keeps its share of them")
    train.add_argument("--lr", type=float, help="highest learning rate")
    train.add_argument("--ckpt_path", help="weights to start from")
    train.add_argument(
        "--ckpt_skip", nargs="+", metavar="NAME", help="what not to take from them: dense. for a new head"
    )
    for action in (train, pretrain):
        action.add_argument("--ckpt_save_dir", help="the run's folder (default runs/<recipe>)")
        action.add_argument("--seed", type=int, help="of weights, data order and dropout")
    train.add_argument("--recompute", action="store_true", default=None, help="less memory for more time")
    train.add_argument("--num_parallel_workers", type=int, help="threads of the data pipeline")
    train.add_argument("--gradient_accumulation_steps", type=int, help="batches whose gradients make one step")
    train.add_argument("--teacher_ckpt_path", help="the weights of a run that a network with two heads learns from")
    for action in (train, pretrain):
        action.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any other setting of the recipe"
        )
    train.add_argument(
        "--resume", action="store_true", help="go on with the run in its folder where it was interrupted"
    )

    predict.add_argument("images", nargs="+", metavar="IMAGE", help="image files, and folders of them")
    predict.add_argument("--output", help="the annotated picture (default predict.png beside the checkpoint)")
    predict.add_argument(
        "--engine", default="mindspore", help="mindspore (default), or onnx: the first word is then an exported file"
    )
    predict.add_argument("--ckpt_path", help="the weights, with their run.json beside them")
    for action in (evaluate, few_shot, export):
        action.add_argument("--ckpt_path", required=True, help="the weights, with their run.json beside them")
    explore.add_argument(
        "--ckpt_path",
        required=True,
        action="append",
        help="the weights, with their run.json beside them; twice for two",
    )
    explore.add_argument("--port", type=int, help="of the page (default the first free one from 7860)")
    explore.add_argument("--language", default="zh", help="zh (default) or en; the page has a switch")
    for action in (evaluate, predict, few_shot, explore, export):
        action.add_argument("--config", help="the recipe that weights without a run.json fit")
    evaluate.add_argument("--split", help="train, val or test (default test where there is one, else val)")

    few_shot.add_argument("--shots", nargs="+", type=int, default=[5, 10], help="images of each class (default 5 10)")
    few_shot.add_argument("--seeds", type=int, default=5, help="how often they are chosen anew (default 5)")
    few_shot.add_argument("--knn", type=int, default=5, help="neighbours that vote (default 5)")
    few_shot.add_argument("--dataset", help="one of `list` (default the run's)")
    few_shot.add_argument("--output", help="folder for the table and the picture (default beside the checkpoint)")

    ablate.add_argument("--positions", nargs="+", help="none, learned_1d, learned_2d, relative, sincos_2d")
    ablate.add_argument("--seeds", type=int, default=5, help="runs of each (default 5)")
    ablate.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    ablate.add_argument("--output", default="runs/ablation", help="folder (default runs/ablation)")
    masked.add_argument("--shots", nargs="+", type=int, help="labelled images of each class (default 10 25 100)")
    masked.add_argument("--seeds", type=int, default=5, help="runs of each (default 5)")
    masked.add_argument("--pretrain_epochs", type=int, help="epochs without labels (default 40)")
    masked.add_argument("--output", default="runs/masked_patches", help="folder (default runs/masked_patches)")

    check.add_argument("--data_dir", required=True, help="folder with train/<class>/*.jpg and val/<class>/*.jpg")
    check.add_argument("--output", help="the list of broken images (default runs/check/<folder>.tsv)")
    prepare.add_argument("--dataset", default="folder", help="one of `list` (default folder)")
    prepare.add_argument("--data_dir", help="where its files are")
    prepare.add_argument("--output", required=True, help="folder for the MindRecord files: --data_dir of mindrecord")
    prepare.add_argument("--shards", type=int, help="files for each split (default one for 4,096 images)")
    prepare.add_argument("--image_size", type=int, help="shorten longer sides to it (default: bytes stay as they are)")
    prepare.add_argument("--num_parallel_workers", type=int, default=2, help="threads (default 2)")

    for action in (train, pretrain, evaluate, predict, few_shot, explore, export):
        action.add_argument("--data_dir", help="where the images are; `list` says which datasets need it")
    for action in (train, pretrain, evaluate, predict, few_shot, explore, examine):
        action.add_argument("--device_target", help="Ascend, CPU or auto: Ascend where there is one (default auto)")
        action.add_argument(
            "--mode", type=lambda word: MODES.get(word, word), help="graph (0, default) or pynative (1)"
        )
        action.add_argument("--precision", help="fp32, bf16, fp16 or auto: fp32 on CPU, fp16 on Ascend (default auto)")
        action.add_argument("--implementation", help="fast (default), or reference: the course's operations")
    for action in (train, pretrain, evaluate):
        action.add_argument("--batch_size", type=int, help="images a step")

    actions = checkin.add_subparsers(dest="action", required=True)
    actions.add_parser("status", help="which exercises are solved")
    card = actions.add_parser("card", help="make the card of a day: a picture, a text and a record")
    card.add_argument("--day", type=int, required=True, help="of the camp, from 1")
    card.add_argument("--name", required=True, help="the learner's")
    card.add_argument("--run", dest="trained", help="the folder of a run, for its curve and accuracy")
    card.add_argument("--notebook", help="of the day (default that of the exercise solved last)")
    card.add_argument("--language", default="zh", help="zh (default) or en")
    card.add_argument("--token", help="what the instructor gave to this learner, to sign the record with")
    card.add_argument("--output", default="checkin", help="folder (default checkin)")
    verify = actions.add_parser("verify", help="check records")
    verify.add_argument("records", nargs="+", metavar="FILE", help="JSON files that `card` wrote")
    verify.add_argument("--regrade", action="store_true", help="grade their sources again")
    verify.add_argument("--tokens", help="CSV with name and token of each learner")

    group = actions.add_parser("class", help="a class's records as a table and a page")
    group.add_argument("folder", help="with the JSON files of the learners")
    group.add_argument("--roster", help="CSV with name, and group if wanted: who should be there")
    group.add_argument("--schedule", help="CSV with day, notebook and due: who is late")
    group.add_argument("--tokens", help="CSV with name and token of each learner")
    group.add_argument("--timezone", help="of the camp (default Asia/Shanghai)")
    group.add_argument("--output", help="folder (default that of the records)")

    models.add_argument("pattern", nargs="?", default="*", help="of model names, like 'vit_b*'")

    convert.add_argument("src", metavar="SRC", help="weights: .ckpt, .safetensors or Google's .npz")
    convert.add_argument("dst", metavar="DST", help="the file to write: .ckpt or .safetensors")
    convert.add_argument("--model", required=True, help="one of `list`, with as many classes as SRC has")
    convert.add_argument("--source", help="whose they are (course, timm, hf, ...), where the names in SRC do not tell")
    convert.add_argument("--skip", nargs="+", default=(), metavar="NAME", help="what to leave out: dense. for the head")
    convert.add_argument("--image_size", type=int, help="pixels that the network is for; positions are resized")

    export.add_argument("--format", required=True, help="mindir, onnx or safetensors")
    export.add_argument("--output", help="the file (default beside the checkpoint)")
    export.add_argument("--names", help="of the weights in safetensors: timm (default) or hf, Hugging Face's")

    bench.add_argument("--quick", action="store_true", help="three minutes for vit_b_16 on two cores: few, short turns")
    bench.add_argument("--scaling", action="store_true", help="vit_ms alone, by image size, batch and depth")
    bench.add_argument("--model", nargs="+", help="of `list` (default vit_b_16; with --scaling one, default vit_s_16)")
    bench.add_argument("--batch_size", nargs="+", type=int, help="images a step (default 8; with --scaling 1 to 16)")
    bench.add_argument(
        "--image_size", nargs="+", type=int, help="pixels (default the model's; with --scaling 224 to 512)"
    )
    bench.add_argument("--depth", nargs="+", type=int, help="layers, with --scaling (default 3 to 24)")
    bench.add_argument("--pass", nargs="+", dest="passes", help="forward, train (default both; with --scaling forward)")
    bench.add_argument("--precision", nargs="+", help="fp32, bf16 (default both; with --scaling fp32)")
    bench.add_argument(
        "--peers", nargs="+", help="vit_ms, reference, onnx, mindcv, timm (default all; with --quick not onnx, mindcv)"
    )
    bench.add_argument("--recipe", help="digits: compare its training step too (default); none")
    bench.add_argument("--rounds", type=int, help="turns of each (default 7; with --quick 3, training 2)")
    bench.add_argument("--output", help="folder for the JSON and the picture (default runs/bench)")
    return parser


def _recipe(args: argparse.Namespace):
    """The recipe that --config names, with the other options in place of its values."""
    from vit_ms.recipe import load_recipe, parse_settings

    own = ("command", "run", "config", "set", "resume")
    options = {key: value for key, value in vars(args).items() if key not in own}
    return load_recipe(args.config, options, parse_settings(args.set))


def _train(args: argparse.Namespace) -> list[Path]:
    from vit_ms.training import train

    return train(_recipe(args), args.resume)


def _pretrain(args: argparse.Namespace) -> list[Path]:
    from vit_ms.masked_patches import pretrain

    return pretrain(_recipe(args))


def _given(args: argparse.Namespace) -> dict:
    """The options that have a value, for a function that takes them by their names."""
    return {key: value for key, value in vars(args).items() if key not in ("command", "run") and value is not None}


def _ablate(args: argparse.Namespace) -> list[Path]:
    from vit_ms.ablation import ablate

    return ablate(**_given(args))


def _masked_patches(args: argparse.Namespace) -> list[Path]:
    from vit_ms.masked_patches import masked_patch_gain

    return masked_patch_gain(**_given(args))


def _check_data(args: argparse.Namespace) -> list[Path]:
    from vit_ms.data.checking import check_data

    return check_data(**_given(args))


def _prepare(args: argparse.Namespace) -> list[Path]:
    from vit_ms.data.catalog import open_dataset
    from vit_ms.data.mindrecord import prepare

    given = _given(args)
    return prepare(open_dataset(given.pop("dataset"), given.pop("data_dir", None)), **given)


def _setup(args: argparse.Namespace):
    from vit_ms import runtime

    return runtime.setup(
        args.device_target or "auto",
        args.mode or "graph",
        precision=args.precision or "auto",
        implementation=args.implementation or "fast",
        in_turn=False,
    )


def _info(args: argparse.Namespace):
    """What --ckpt_path is: its run.json says it, or --config."""
    (info,) = _infos(args, [args.ckpt_path])
    return info


def _infos(args: argparse.Namespace, ckpt_paths: list[str]) -> list:
    """What checkpoints are: the run.json beside each says it, or --config for all."""
    chosen = _setup(args)
    if chosen.note:
        print(chosen.note)
    return _read_infos(args, ckpt_paths)


def _read_infos(args: argparse.Namespace, ckpt_paths: list[str]) -> list:
    from vit_ms.data.catalog import open_dataset
    from vit_ms.recipe import load_recipe
    from vit_ms.run import RunInfo

    if args.config is None:
        return [RunInfo.read(path) for path in ckpt_paths]
    recipe = load_recipe(args.config, {"data_dir": args.data_dir})
    return [RunInfo.of(recipe, open_dataset(recipe.dataset, recipe.data_dir)) for _ in ckpt_paths]


def _eval(args: argparse.Namespace) -> list[Path]:
    from vit_ms.run import evaluate

    return evaluate(_info(args), args.ckpt_path, args.split, args.data_dir, args.batch_size)


def _few_shot(args: argparse.Namespace) -> list[Path]:
    from vit_ms.fewshot import few_shot

    options = {key: getattr(args, key) for key in ("shots", "seeds", "knn", "dataset", "data_dir", "output")}
    return few_shot(_info(args), args.ckpt_path, **options)


# What --engine onnx takes nothing from: the file says it, and onnxruntime runs it.
_OF_MINDSPORE = ("ckpt_path", "config", "data_dir", "device_target", "mode", "precision", "implementation")


def _predict(args: argparse.Namespace) -> list[Path]:
    if args.engine == "mindspore":
        from vit_ms.predict import predict

        if args.ckpt_path is None:
            raise UserError("--ckpt_path is missing: name the weights, with their run.json beside them")
        return predict(_info(args), args.ckpt_path, args.images, args.output)
    if args.engine != "onnx":
        raise UserError(f"--engine {args.engine} is unknown: choose mindspore or onnx")
    for name in _OF_MINDSPORE:
        if getattr(args, name) is not None:
            raise UserError(f"--{name} does not go with --engine onnx")
    model, *images = args.images
    if not (model.endswith(".onnx") and images):
        raise UserError("with --engine onnx the first word is the exported file, then images: model.onnx photo.jpg")
    from vit_ms.predict_onnx import predict

    return predict(model, images, args.output)


def _export(args: argparse.Namespace) -> list[Path]:
    from vit_ms.export import export

    (info,) = _read_infos(args, [args.ckpt_path])
    return export(info, args.ckpt_path, args.format, args.output, args.names)


def _explore(args: argparse.Namespace) -> list[Path]:
    from vit_ms.explore import explore

    infos = _infos(args, args.ckpt_path)
    return explore(list(zip(infos, args.ckpt_path, strict=True)), args.port, args.language)


def _doctor(args: argparse.Namespace) -> list[Path]:
    from vit_ms.checkup import doctor

    _setup(args)
    doctor()
    return []


def _checkin(args: argparse.Namespace) -> list[Path]:
    from vit_ms import checkin
    from vit_ms.checkin import classroom, record
    from vit_ms.checkin.cards import make_card

    given = {key: value for key, value in _given(args).items() if key != "action"}
    if args.action == "status":
        checkin.status()
        return []
    if args.action == "card":
        return make_card(run=given.pop("trained", None), **given)
    if args.action == "class":
        return classroom.class_view(**given)
    tokens = record.read_tokens(args.tokens) if args.tokens else None
    verdicts = record.verify(args.records, args.regrade, tokens, say=lambda path: print(f"grading {path}", flush=True))
    for verdict in verdicts:
        print(f"{'✗' if verdict.problems else '✓'} {verdict.path}")
        for problem in verdict.problems:
            print(f"    {problem}")
    if any(verdict.problems for verdict in verdicts):
        raise UserError(
            f"{sum(bool(verdict.problems) for verdict in verdicts)} of {len(verdicts)} records have problems"
        )
    return []


def _list(args: argparse.Namespace) -> list[Path]:
    from vit_ms.data.catalog import table
    from vit_ms.errors import did_you_mean
    from vit_ms.recipe import list_recipes
    from vit_ms.registry import list_models

    names = list_models(args.pattern)
    if not names:
        raise UserError(f"no model matches {args.pattern!r}{did_you_mean(args.pattern, list_models())}")
    print("models:  ", "  ".join(names))
    if args.pattern == "*":
        print("recipes: ", "  ".join(list_recipes()))
        print("datasets:", *table(), sep="\n  ")
    return []


def _convert(args: argparse.Namespace) -> list[Path]:
    from vit_ms import runtime
    from vit_ms.convert import convert

    runtime.setup("CPU", "pynative")
    return convert(args.src, args.dst, args.model, args.source, args.skip, args.image_size)


def _bench(args: argparse.Namespace) -> list[Path]:
    from vit_ms import benchmark

    given = _given(args)
    given.pop("scaling")
    for key in ("peers", "recipe") if args.scaling else ("depth",):
        if key in given:
            raise UserError(f"--{key} does not go {'with' if args.scaling else 'without'} --scaling")
    return (benchmark.scaling if args.scaling else benchmark.bench)(**given)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv (list[str]): its words; None: those the process was called with.

    Returns:
        int, the exit code: 0, 1 for a failure, 2 for a user's mistake, which is told in one line; more than 128 after a
        signal.
    """
    args = _parser().parse_args(argv)
    start = time.perf_counter()
    try:
        if getattr(args, "engine", None) != "onnx":  # which runs where there is no MindSpore
            environment.check_versions()
    except ImportError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if written := args.run(args):
            print(f"wrote, in {time.perf_counter() - start:.0f} s:")
            for path in written:
                print(f"  {path}")
        sys.stdout.flush()
    except UserError as error:
        return _stop(2, error)
    except Interrupted as error:
        return _stop(128 + error.signal, error)
    except BrokenPipeError as error:
        return 128 + signal.SIGPIPE if _nobody_reads() else _stop(1, error)
    except (OSError, FloatingPointError, MemoryError) as error:
        return _stop(1, error)
    except KeyboardInterrupt:
        return _stop(1, "stopped")
    return 0


def _nobody_reads() -> bool:
    """Whether what this prints into, like `head`, has had enough and is gone."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain as it ends
        return True
    return False


def _stop(code: int, reason: object) -> int:
    print(f"vit_ms: {reason}", file=sys.stderr)
    return code
