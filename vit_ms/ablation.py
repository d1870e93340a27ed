"""The ablation of position embeddings: one recipe with each of them and several seeds, a table and a picture."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm

import vit_ms
from vit_ms import training, visualize
from vit_ms.errors import Interrupted, UserError, check_positive
from vit_ms.files import whole_file
from vit_ms.models import vit
from vit_ms.recipe import Recipe, load_recipe
from vit_ms.registry import model_arguments
from vit_ms.run import RunInfo, evaluate, read_json, write_json

POSITIONS = ("none", "learned_1d", "learned_2d", "relative")  # those of the paper's table
SPLITS = ("val", "test")


def ablate(
    config: str = "digits",
    positions: Sequence[str] = POSITIONS,
    seeds: int = 5,
    epoch_size: int | None = None,
    jobs: int = 1,
    output: str | Path = "runs/ablation",
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Train a recipe with each kind of position embedding and several seeds, and compare what comes of it.

    Each run has a folder of its own. Those that are finished are not run again and one that was interrupted goes on, so the
    same call completes the work, and more seeds or positions add to it.

    Args:
        config (str): the name of a recipe or its YAML file; its model is a ViT, and its dataset has a split test.
        positions (Sequence[str]): as `ViT` takes them.
        seeds (int): runs of each, with the seeds from 0.
        epoch_size (int): epochs of a run; None: the recipe's.
        jobs (int): runs at the same time; of several each has one thread.
        output (str or Path): the folder for the runs, the table and the picture.
        say (Callable): told one line at a time how it goes.

    Returns:
        list[Path], the files written: ablation.json, ablation.md and ablation.png.

    Raises:
        UserError: If the model has no such positions, a folder holds another run, or a run could not be done.
        Interrupted: If it is told to stop (SIGTERM, Ctrl-C); the runs have saved their states.

    Reference:
        Dosovitskiy et al. 2021, appendix D.4, table 8.
    """
    check_positive(seeds=seeds, jobs=jobs, positions=len(positions))
    output = Path(output)
    base = load_recipe(config, {"epoch_size": epoch_size})
    recipes = []
    for position in dict.fromkeys(positions):
        overrides = {**base.overrides, "position": position}
        model_arguments(base.model, overrides)
        if position not in vit.POSITIONS:
            raise UserError(f"position is {position!r}; choose one of {', '.join(vit.POSITIONS)}")
        for seed in range(seeds):
            folder = str(output / f"{position}_{seed}")
            recipes.append(dataclasses.replace(base, overrides=overrides, seed=seed, ckpt_save_dir=folder))
    for recipe in recipes:
        _refuse_other(recipe)
    missing = [recipe for recipe in recipes if not _is_finished(recipe)]
    say(f"{len(recipes)} runs of {base.epoch_size} epochs, {len(recipes) - len(missing)} of them finished already")
    _carry_out(missing, jobs)

    rows = []
    for recipe in recipes:
        metrics = read_json(recipe.folder / "metrics.json")
        top1 = {split: metrics[split]["top1"] for split in SPLITS}
        rows.append({"position": recipe.overrides["position"], "seed": recipe.seed, **top1})
    table = summary(rows)
    lines = markdown(table)
    for line in lines:
        say(line)
    content = {"config": config, "epoch_size": base.epoch_size, "versions": {"vit_ms": vit_ms.__version__}}
    write_json(output / "ablation.json", {**content, "summary": table, "runs": rows})
    _write(output / "ablation.md", "\n".join(lines))
    visualize.plot_ablation(rows, f"{base.name}: {base.epoch_size} epochs, {seeds} seeds", output / "ablation.png")
    return [output / f"ablation.{kind}" for kind in ("json", "md", "png")]


def summary(rows: list[dict]) -> list[dict]:
    """Mean and standard deviation over the seeds, and how far each kind is above that without positions.

    Args:
        rows (list[dict]): each with position, seed, val and test.

    Returns:
        list[dict], one for each position, with position, runs, for each split mean and std, and, where there is `"none"`,
        gain: the mean over the seeds of the difference on test to the run without positions, and its standard error.
    """
    by_position = {position: [] for position in dict.fromkeys(row["position"] for row in rows)}
    for row in rows:
        by_position[row["position"]].append(row)
    table = []
    for position, mine in by_position.items():
        entry = {"position": position, "runs": len(mine)}
        for split in SPLITS:
            entry[split] = _mean_and_std([row[split] for row in mine])
        if position != "none" and "none" in by_position:
            without = {row["seed"]: row["test"] for row in by_position["none"]}
            gain = _mean_and_std([row["test"] - without[row["seed"]] for row in mine])
            entry["gain"] = {"mean": gain["mean"], "standard_error": gain["std"] / len(mine) ** 0.5}
        table.append(entry)
    return table


def _mean_and_std(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=min(1, len(values) - 1)))}


def markdown(table: list[dict]) -> list[str]:
    """What `summary` gives as the lines of a Markdown table."""
    lines = [
        "| positions | runs | val top-1, % | test top-1, % | test, above none |",
        "|---|---|---|---|---|",
    ]
    for row in table:
        shares = [f"{row[split]['mean']:.2%} ± {row[split]['std']:.2%}".replace("%", "") for split in SPLITS]
        gain = row.get("gain")
        above = f"{gain['mean']:+.2%} ± {gain['standard_error']:.2%}".replace("%", "") if gain else ""
        lines.append(f"| {row['position']} | {row['runs']} | {' | '.join(shares)} | {above} |")
    return [*lines, "", "±: the standard deviation between seeds; of the difference, the standard error of its mean."]


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _is_finished(recipe: Recipe) -> bool:
    metrics = read_json(recipe.folder / "metrics.json")
    return (recipe.folder / "recipe.yaml").is_file() and all(split in metrics for split in SPLITS)


def _refuse_other(recipe: Recipe) -> None:
    """What a folder holds must be the run that is asked for, even if only its results are read."""
    try:
        earlier = yaml.safe_load((recipe.folder / "recipe.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    now = _plain(recipe)
    changed = [f"{key} {earlier.get(key)!r} -> {value!r}" for key, value in now.items() if earlier.get(key) != value]
    if changed:
        raise UserError(f"{recipe.folder} holds another run ({', '.join(changed[:3])}): choose another --output")


def _plain(recipe: Recipe) -> dict:
    """A recipe as it comes back from its file, but for the folder, which may have been moved."""
    return {**json.loads(json.dumps(dataclasses.asdict(recipe))), "ckpt_save_dir": None}


def _carry_out(recipes: list[Recipe], jobs: int) -> None:
    """Run recipes in processes of their own, some at a time; one that fails ends the others."""
    waiting, running = list(recipes), {}
    with _signals(), tqdm(total=len(recipes), desc="ablation", unit="run", disable=not recipes) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    folder = waiting[0].folder
                    _write(folder / "recipe.yaml", yaml.safe_dump(_plain(waiting.pop(0)), sort_keys=False))
                    with (folder / "log.txt").open("w") as log:
                        running[folder] = start(folder, log, one_thread=jobs > 1)
                time.sleep(0.1)
                for folder in [folder for folder, process in running.items() if process.poll() is not None]:
                    _check(folder, running.pop(folder).returncode)
                    bar.update()
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Within it SIGTERM, too, raises an exception: the runs must not outlive what has started them."""

    def stop(number, frame):
        raise Interrupted("stopped: the same command goes on", number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(folder: Path, code: int) -> None:
    if code == 0:
        return
    log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    reason = [f"exit code {code}", *filter(None, map(str.strip, log.splitlines()))][-1]
    raise UserError(f"the run in {folder} failed ({reason}): see its log.txt, then start again to go on")


def start(folder: Path, log, one_thread: bool) -> subprocess.Popen:
    """The process that carries out the recipe.yaml in a folder."""
    package = str(Path(vit_ms.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment["TQDM_DISABLE"] = "1"  # the bar is that of the runs
    if one_thread:
        environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "vit_ms.ablation", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def measure(folder: str | Path) -> None:
    """Carry out the recipe.yaml in a folder and measure on test the checkpoint that was best on val.

    Args:
        folder (str or Path): of the run.
    """
    recipe = load_recipe(str(Path(folder) / "recipe.yaml"), {"ckpt_save_dir": str(folder)})
    training.train(recipe, resume=True)
    best = recipe.folder / "best.ckpt"
    evaluate(RunInfo.read(best), best, "test")


if __name__ == "__main__":
    try:
        measure(sys.argv[1])
    except (UserError, Interrupted) as error:
        sys.exit(f"vit_ms: {error}")
