"""Images per second of training: `tfvae` beside its peers and the limit of the matrix products.

    pip install "tfvae[bench]"
    python tests/benchmarks/training.py --data-dir TFDS_FOLDER --json training.json

Each contestant trains in a process of its own, two epochs in its turn, while the others wait. All
start from the same weights, see the same MNIST images, held in memory, and use Adam at the same
rate. The second epoch of a turn counts; in the first turn, which does not, all compile. The table
gives medians over the turns, and so are the ratios, each of epochs that were trained one after the
other. At the end all are judged by tfvae on held-out images: who is further than 2 % from the
median of all is fast by being wrong (or lucky: train longer, with --images).
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from training_peers.problems import PROBLEMS
from training_peers.turns import Contestant, ContestantError

NUM_THREADS = 2
TOLERANCE = 0.02  # Of the bound: early in training, the order of the images makes one percent.
IDLE_SHARE = 0.02  # of the time that others train: who computes more than that disturbs them.

REFERENCE = "tfvae, fit(dataset)"
RESAMPLED = "tfvae, 5 resampled"
# Name: module, options.
CONTESTANTS = {
    REFERENCE: ("tfvae_fit", {"way": "dataset"}),
    "tfvae, fit(array)": ("tfvae_fit", {"way": "array"}),
    "tfvae, fit(load_dataset)": ("tfvae_fit", {"way": "load_dataset"}),
    "tfvae, mixed_bfloat16": ("tfvae_fit", {"way": "dataset", "dtype": "mixed_bfloat16"}),
    RESAMPLED: ("tfvae_fit", {"way": "dataset", "num_resampled": 5}),
    "JAX, lax.scan": ("jax_scan", {}),
    "JAX, lax.scan, bfloat16": ("jax_scan", {"dtype": "bfloat16"}),
    "PyTorch, eager": ("torch_loop", {}),
    "PyTorch, eager, bfloat16": ("torch_loop", {"bfloat16": True}),
    "PyTorch, compile": ("torch_loop", {"compiled": True}),
    "pythae, BaseTrainer": ("pythae_trainer", {}),
    "plain Keras, train_step": ("keras_step", {}),
    "GEMMs alone, TensorFlow": ("gemm", {"library": "tensorflow"}),
    "GEMMs alone, JAX": ("gemm", {"library": "jax"}),
    "GEMMs alone, PyTorch": ("gemm", {"library": "torch"}),
}
# Those that take part in some problems alone.
PROBLEMS_OF = {RESAMPLED: ["iwae"]}
GEMMS = [name for name in CONTESTANTS if name.startswith("GEMMs")]
TORCH = ["PyTorch, eager", "PyTorch, compile"]
OTHERS = [(REFERENCE, ["pythae, BaseTrainer"], 2.0), (REFERENCE, ["plain Keras, train_step"], 2.0)]
# By problem: whose images per second, by whose (the fastest of them), at least.
TARGETS = {
    "mlp128": [
        (REFERENCE, ["JAX, lax.scan"], 1.0),
        (REFERENCE, TORCH, 1.5),
        *OTHERS,
        ("tfvae, mixed_bfloat16", ["JAX, lax.scan"], 1.0),
    ],
    "mlp512": [
        (REFERENCE, ["JAX, lax.scan"], 1.0),
        (REFERENCE, TORCH, 1.5),
        *OTHERS,
        ("tfvae, mixed_bfloat16", ["JAX, lax.scan"], 1.5),
    ],
    "iwae": [
        (REFERENCE, ["JAX, lax.scan"], 1.0),
        (REFERENCE, ["pythae, BaseTrainer"], 3.0),
    ],
    "conv": [(REFERENCE, TORCH, 1.2)],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument(
        "--contestants", nargs="+", metavar="TEXT", default=[""],
        help="only those whose names have one of these texts in them, and always the reference",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="turns that count")
    parser.add_argument("--images", type=int, help="an epoch; by default so that it takes seconds")
    parser.add_argument("--data-dir", help="of TFDS, with mnist; by default TFDS's own")
    parser.add_argument("--json", help="where to write the figures")
    settings = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # On a busy machine, threads that wait by spinning would slow PyTorch down several times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # pythae's progress bars.
    os.environ["TQDM_DISABLE"] = "1"
    if hasattr(os, "sched_setaffinity"):  # By which each library chooses its number of threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_THREADS])

    from tfvae.common.errors import InputError

    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            name: Contestant(*how, messages=Path(folder) / name.replace(" ", "_"))
            for name, how in CONTESTANTS.items()
            if name == REFERENCE or any(text in name for text in settings.contestants)
        }
        try:
            figures = {"about": about(), "settings": vars(settings), "problems": {}}
            print(figures["about"])
            for name in settings.only:
                taking_part = {
                    contestant: process
                    for contestant, process in contestants.items()
                    if name in PROBLEMS_OF.get(contestant, PROBLEMS)
                }
                figures["problems"][name] = run(name, taking_part, settings)
                print_table(name, figures["problems"][name])
        except InputError as error:
            sys.exit(str(error))
        finally:
            for contestant in contestants.values():
                contestant.stop()
    if settings.json:
        from tfvae.common.files import atomic_write

        with atomic_write(settings.json) as path:
            path.write_text(json.dumps(figures, indent=1) + "\n")


def about() -> str:
    """The machine, the versions and the day."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        model = models[0] if models else model
    versions = [
        f"{package} {importlib.metadata.version(package)}"
        for package in ("tensorflow", "keras", "jax", "torch", "pythae")
        if importlib.util.find_spec(package)
    ]
    load = f"load average {os.getloadavg()[0]:.1f}"
    versions = ", ".join(versions)
    return f"{model}, {NUM_THREADS} threads, {load}; {versions}; {datetime.date.today()}"


def run(name: str, contestants: dict[str, Contestant], settings: argparse.Namespace) -> dict:
    """Trains all on one problem, in turns."""
    from training_peers import evaluation

    problem = PROBLEMS[name]
    num_steps = (settings.images or problem.num_images) // problem.batch_size
    num_images = num_steps * problem.batch_size
    images = evaluation.load_images(f"train[:{num_images}]", settings.data_dir)
    data = evaluation.initial_data(problem, images, settings.data_dir)
    seconds = {contestant: [] for contestant in contestants}
    idle_cpu = dict.fromkeys(contestants, 0.0)
    bounds, failures = {}, {}

    def attempt(contestant, action):
        try:
            return action()
        except ContestantError as failure:
            failures[contestant] = str(failure)
            print(f"{contestant}:\n{contestants[contestant].messages.read_text()}", file=sys.stderr)

    for contestant, process in contestants.items():
        attempt(
            contestant, lambda process=process: process.start(problem, data, settings.rounds + 1)
        )
    for turn in range(settings.rounds + 1):
        print(f"{name}: turn {turn} of {settings.rounds}", end="\r", file=sys.stderr, flush=True)
        for contestant, process in contestants.items():
            times = None if contestant in failures else attempt(contestant, process.turn)
            if turn and times:  # In the first it compiles.
                seconds[contestant].append(times[0])
                idle_cpu[contestant] += times[1]
    held_out = evaluation.load_images(f"test[:{evaluation.NUM_IMAGES}]", settings.data_dir)
    for contestant, process in contestants.items():
        trained = None if contestant in failures else attempt(contestant, process.finish)
        if trained:
            bounds[contestant] = evaluation.bound(problem, trained, held_out)
    total = sum(map(sum, seconds.values()))
    seconds = {key: values for key, values in seconds.items() if key not in failures}
    rates = {key: [num_images / time for time in values] for key, values in seconds.items()}
    return {
        "num_images": num_images,
        "images_per_second": rates,
        "bounds": bounds,
        "idle_cpu_shares": {
            key: idle_cpu[key] / (total - sum(values)) if len(seconds) > 1 else 0.0
            for key, values in seconds.items()
        },
        "failures": failures,
        "targets": targets(name, rates),
    }


def targets(name, rates):
    """What was reached, of what is to be reached."""
    reached = []
    for ours, peers, at_least in TARGETS[name]:
        peers = [peer for peer in peers if peer in rates]
        if peers and ours in rates:
            peer = max(peers, key=lambda peer: statistics.median(rates[peer]))
            ratios = ratios_of(rates[ours], rates[peer])
            row = {"ours": ours, "peer": peer, "at_least": at_least, "ratios": ratios}
            reached.append(row | {"ratio": statistics.median(ratios)})
    return reached


def ratios_of(ours, theirs):
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def print_table(name, figures):
    problem, rates, bounds = PROBLEMS[name], figures["images_per_second"], figures["bounds"]
    print(
        f"\n{name}: {problem.title}, batch {problem.batch_size}, "
        f"{figures['num_images']:,} images an epoch"
    )
    print(
        f"{'':26}{'images/s':>10}{'lowest':>9}{'highest':>9}"
        f"{'tfvae is as fast, times':>27}{'of GEMM limit':>15}{problem.bound:>10}"
    )
    medians = {contestant: statistics.median(values) for contestant, values in rates.items()}
    gemms = [contestant for contestant in GEMMS if contestant in rates]
    limit = max(gemms, key=medians.get) if gemms else None
    middle = statistics.median(bounds.values()) if bounds else None
    for contestant, values in rates.items():
        line = f"{contestant:26}{medians[contestant]:10,.0f}{min(values):9,.0f}{max(values):9,.0f}"
        if REFERENCE in rates:
            ratios = ratios_of(rates[REFERENCE], values)
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            line += f"{statistics.median(ratios):10.2f} {spread:>16}"
        if limit:
            share = statistics.median(ratios_of(values, rates[limit]))
            line += f"{100 * share:13.0f} %"
        if contestant in bounds:
            line += f"{bounds[contestant]:10.2f}"
            difference = bounds[contestant] - middle
            if not abs(difference) <= TOLERANCE * abs(middle):
                line += f"  WRONG? {difference:+.2f} from the median"
        if figures["idle_cpu_shares"][contestant] > IDLE_SHARE:
            line += (
                f"  BUSY in {100 * figures['idle_cpu_shares'][contestant]:.0f} % of others' time"
            )
        print(line)
    for contestant, reason in figures["failures"].items():
        print(f"{contestant:26} missing: {reason}")
    for row in figures["targets"]:
        verdict = "reached" if row["ratio"] >= row["at_least"] else "MISSED"
        spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
        print(
            f"{row['ours']} / {row['peer']}: {row['ratio']:.2f} ({spread}), "
            f"at least {row['at_least']:g}: {verdict}"
        )


if __name__ == "__main__":
    main()
