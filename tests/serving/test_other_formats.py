import sys

import numpy as np
import pytest

import tfvae
from tfvae import networks
from tfvae.common.errors import InputError
from tfvae.serving import other_formats

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=[pytest.param("mlp", marks=pytest.mark.slow), "conv"])
def network_vae(request):
    image_shape, latent_dim = (12, 8, 1), 3
    sizes = {"mlp": {"hidden": (16,)}, "conv": {"filters": (4, 4), "hidden": 8}}[request.param]
    return tfvae.VAE(
        encoder=getattr(networks, f"{request.param}_encoder")(image_shape, latent_dim, **sizes),
        decoder=getattr(networks, f"{request.param}_decoder")(image_shape, latent_dim, **sizes),
    )


def inputs_and_outputs(vae, count):
    generator = np.random.default_rng(0)
    images = generator.uniform(size=(count, *vae.image_shape)).astype(np.float32)
    latents = generator.normal(size=(count, vae.latent_dim)).astype(np.float32)
    posterior = vae.encode(images)
    return (
        ({"images": images}, {"mean": posterior.mean(), "stddev": posterior.stddev()}),
        ({"latents": latents}, {"probabilities": vae.decode(latents).mean()}),
    )


def assert_agree(outputs, expected):
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=TOLERANCE, rtol=TOLERANCE)


def test_onnx_runtime_agrees(network_vae, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("tf2onnx", reason="the extra `formats` is not installed")
    paths = other_formats.export_onnx(network_vae, tmp_path / "new")
    assert [path.name for path in paths] == ["encoder.onnx", "decoder.onnx"]
    for count in (1, 7):
        pairs = inputs_and_outputs(network_vae, count)
        for path, (inputs, expected) in zip(paths, pairs, strict=True):
            session = runtime.InferenceSession(path)
            names = [output.name for output in session.get_outputs()]
            outputs = dict(zip(names, session.run(None, inputs), strict=True))
            assert_agree(outputs, expected)


def test_litert_agrees(network_vae, tmp_path):
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="the LiteRT interpreter is not installed"
    )
    paths = other_formats.export_litert(network_vae, tmp_path)
    assert [path.name for path in paths] == ["encoder.tflite", "decoder.tflite"]
    for count in (1, 7):
        pairs = inputs_and_outputs(network_vae, count)
        for path, (inputs, expected) in zip(paths, pairs, strict=True):
            runner = interpreter.Interpreter(model_path=str(path)).get_signature_runner()
            assert_agree(runner(**inputs), expected)


def test_what_cannot_be_exported_is_refused(vae, make_vae, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"only float32 models .* in .*bfloat16"):
        other_formats.export_litert(make_vae(dtype="mixed_bfloat16"), tmp_path / "new")
    with pytest.raises(InputError, match=r"only a tfvae.VAE can be exported; got str"):
        other_formats.export_litert("model.keras", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        other_formats.export_litert(vae, tmp_path / "file" / "folder")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "tf2onnx", raising=False)
    with pytest.raises(InputError, match="writing ONNX needs tf2onnx"):
        other_formats.export_onnx(vae, tmp_path)
