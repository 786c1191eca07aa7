"""What the package uses of other libraries though it is private, and may change any day."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import tfvae

MODULES = sorted((Path(__file__).parents[1] / "tfvae").rglob("*.py"))

# What each is used for, as there is no public way; beside its use stands the test that would notice
# a change.
PRIVATE_NAMES = {
    "_all_reduce_sum_gradients": "where Keras's optimizers add up the gradients of replicas",
    "_get_variable_index": "the moments of a variable, for TensorFlow's fused Adam",
    "_inputs": "what a tf.data.Dataset is made from, to turn its tuning off where that helps",
    "_maybe_symbolic_build": "Keras takes a batch from the data here, to build what is built",
    "_momentums": "as _get_variable_index",
    "_velocities": "as _get_variable_index",
}
# What their documentation asks to override or to call.
DOCUMENTED = {"_asdict", "_fields", "_replace", "_info", "_split_generators", "_generate_examples"}
# A TFP distribution of one's own implements the underscored version of each public method.
DOCUMENTED |= {"_log_prob", "_mean", "_quantile", "_sample_n", "_parameter_properties"}
DOCUMENTED |= {"_event_shape", "_event_shape_tensor"}
PRIVATE_MODULES = ("keras.src", "keras_tuner.src", "keras_tuner.engine", "tensorflow.python")


def test_few_private_names_of_other_libraries_are_used():
    used = set(overridden_names())
    for file in MODULES:
        tree = ast.parse(file.read_text("utf-8"))
        own = set(names_defined(tree))
        used.update(name for name in private_names(tree) if name not in own)
    assert used == set(PRIVATE_NAMES)
    assert len(used) <= 10


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in ("_", *DOCUMENTED)


def names_defined(tree):
    """All names of functions, classes, arguments, variables and attributes of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) == "self" else []


def private_names(tree):
    """Private attributes, arguments of getattr and the like, and modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if is_private(node.attr):
                yield node.attr
            elif ast.unparse(node) in PRIVATE_MODULES:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("attr", "pop", "get")):
            texts = [node.value for node in node.args if isinstance(node, ast.Constant)]
            yield from filter(is_private, filter(str.isidentifier, map(str, texts)))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                path = ".".join(filter(None, [getattr(node, "module", ""), alias.name]))
                yield from (name for name in PRIVATE_MODULES if path.startswith(name))
                yield from filter(is_private, path.split("."))


def overridden_names():
    """Private methods of other libraries that a class of the package overrides."""
    for module in pkgutil.walk_packages(tfvae.__path__, "tfvae."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if not inspect.isclass(kind) or kind.__module__ != module.name:
                continue
            others = [
                vars(base) for base in kind.__mro__ if not base.__module__.startswith("tfvae")
            ]
            for name, value in vars(kind).items():
                is_written_here = inspect.isfunction(value) and value.__module__ == module.name
                if is_private(name) and is_written_here and any(name in names for names in others):
                    yield name
