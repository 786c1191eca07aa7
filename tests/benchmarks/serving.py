"""How much the exported signatures cost over the networks themselves.

    python tests/benchmarks/serving.py [--json FILE]

Everything runs as TensorFlow Serving runs it: a SavedModel in a session. The exported `encode` is
compared with a bare forward pass of the same encoder, `sample` with `decode`; the calls of all are
interleaved, and what is compared are the medians.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfvae

LIMITS = {
    ("encode", "bare encoder", 1): 1.15,
    ("encode", "bare encoder", 256): 1.05,
    ("sample", "decode", 256): 1.30,
}
IMAGE_SHAPE = (28, 28, 1)
LATENT_DIM = 32


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    vae = tfvae.VAE(image_shape=IMAGE_SHAPE, latent_dim=LATENT_DIM)
    with tempfile.TemporaryDirectory() as folder:
        exported = tfvae.export_saved_model(vae, folder + "/model", warmup_batch_sizes=())
        bare = save_bare_networks(vae, folder + "/bare")
        calls = {
            "encode": callable_of(exported, "encode"),
            "sample": callable_of(exported, "sample"),
            "decode": callable_of(exported, "decode"),
            "bare encoder": callable_of(bare, "encoder"),
        }

    results = []
    for batch_size in (1, 256):
        seconds = interleaved(
            {name: bound(name, call, batch_size) for name, call in calls.items()},
            arguments.repeats,
        )
        for name, values in seconds.items():
            print(f"batch {batch_size:4d}  {name:13s} {1e3 * statistics.median(values):8.3f} ms")
        for (name, other, size), limit in LIMITS.items():
            if size == batch_size:
                ratio = statistics.median(seconds[name]) / statistics.median(seconds[other])
                verdict = "within" if ratio <= limit else "ABOVE"
                print(f"batch {size:4d}  {name} / {other}: {ratio:.3f}, {verdict} {limit}")
                results.append(
                    {
                        "signature": name,
                        "against": other,
                        "batch_size": size,
                        "ratio": ratio,
                        "limit": limit,
                    }
                )
    if arguments.json:
        about = {"tensorflow": tf.__version__, "machine": platform.processor()}
        arguments.json.write_text(json.dumps({**about, "ratios": results}, indent=2))


def save_bare_networks(vae, path):
    module = tf.Module()
    module.variables_of_networks = [v.value for v in vae.encoder.variables]

    @tf.function(
        input_signature=[tf.TensorSpec((None, *IMAGE_SHAPE), name="images")], autograph=False
    )
    def encoder(images):
        return {"parameters": vae.encoder(images, training=False)}

    module.encoder = encoder
    tf.saved_model.save(module, path, signatures={"encoder": encoder})
    return path


def callable_of(path, signature_name):
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    signature = meta_graph.signature_def[signature_name]
    (feed,) = (info.name for info in signature.inputs.values())
    fetches = [info.name for info in signature.outputs.values()]
    return session.make_callable(fetches, feed_list=[feed])


def bound(name, call, batch_size):
    generator = np.random.default_rng(0)
    if name == "sample":
        value = generator.integers(0, 2**62, batch_size)
    elif name == "decode":
        value = generator.normal(size=(batch_size, LATENT_DIM)).astype(np.float32)
    else:
        value = generator.uniform(size=(batch_size, *IMAGE_SHAPE)).astype(np.float32)
    return lambda: call(value)


def interleaved(calls, repeats):
    seconds = {name: [] for name in calls}
    for repeat in range(-20, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
