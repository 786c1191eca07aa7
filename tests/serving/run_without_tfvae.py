"""Runs every signature of a SavedModel where tfvae, Keras and TFP cannot be imported.

    python run_without_tfvae.py <version> <inputs.npz> <outputs>

Writes `<outputs>-saved_model.npz` and `<outputs>-session.npz`, by two loaders. The names in the
archives are `<case>/<signature>/<tensor>`.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

import numpy as np

BLOCKED = ("tfvae", "keras", "tf_keras", "tensorflow_probability")


class Blocker(MetaPathFinder, Loader):
    """TensorFlow asks where Keras lies, without importing it: so what is blocked is the import."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.split(".")[0] in BLOCKED else None

    def exec_module(self, module):
        raise ImportError(f"{module.__name__} must not be needed here")


def grouped(archive):
    cases = {}
    for key in archive:
        case, signature, name = key.split("/")
        cases.setdefault((case, signature), {})[name] = archive[key]
    return cases


def signatures_of_saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return {
        name: lambda function=function, **inputs: function(
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        for name, function in loaded.signatures.items()
    }


def signatures_of_session(path):
    """As TensorFlow Serving loads it."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)

    def run(signature, **inputs):
        return session.run(
            {name: info.name for name, info in signature.outputs.items()},
            {signature.inputs[name].name: value for name, value in inputs.items()},
        )

    return {
        name: lambda signature=signature, **inputs: run(signature, **inputs)
        for name, signature in meta_graph.signature_def.items()
        if not name.startswith("__")
    }


def main(path, inputs_path, outputs_path):
    sys.meta_path.insert(0, Blocker())
    for loader, load in (
        ("saved_model", signatures_of_saved_model),
        ("session", signatures_of_session),
    ):
        functions, outputs = load(path), {}
        with np.load(inputs_path) as archive:
            for (case, signature), inputs in grouped(archive).items():
                for name, output in functions[signature](**inputs).items():
                    outputs[f"{case}/{signature}/{name}"] = np.asarray(output)
        np.savez(f"{outputs_path}-{loader}.npz", **outputs)
    loaded = [name for name in BLOCKED if name in sys.modules]
    assert not loaded, loaded


if __name__ == "__main__":
    main(*sys.argv[1:])
