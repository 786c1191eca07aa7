import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.fitting import optimizers


def run(optimizer, jit_compile=False, steps=30):
    generator = np.random.default_rng(0)
    variables = [
        keras.Variable(generator.normal(size=shape).astype("float32"))
        for shape in [(20, 30), (30,)]
    ]
    gradients = [
        [tf.constant(generator.normal(size=x.shape), tf.float32) for x in variables]
        for _ in range(steps)
    ]
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(gradients):
        optimizer.apply(gradients, variables)

    for gradient in gradients:
        step(gradient)
    return [x.numpy() for x in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"beta_1": 0.5, "epsilon": 1e-3, "weight_decay": 0.1},
        {"global_clipnorm": 0.5, "use_ema": True},
        {"learning_rate": keras.optimizers.schedules.CosineDecay(1e-2, 20)},
        {"gradient_accumulation_steps": 3},
    ],
)
def test_fused_adam_equals_keras(arguments):
    fused = optimizers.fuse(keras.optimizers.Adam(**arguments))
    assert type(fused) is optimizers.FusedAdam
    for ours, theirs in zip(run(fused), run(keras.optimizers.Adam(**arguments)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_fused_adam_runs_under_xla():
    fused = run(optimizers.fuse(keras.optimizers.Adam()), jit_compile=True)
    for ours, theirs in zip(fused, run(keras.optimizers.Adam()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_amsgrad_is_that_of_keras():
    fused = run(optimizers.fuse(keras.optimizers.Adam(amsgrad=True)))
    for ours, theirs in zip(fused, run(keras.optimizers.Adam(amsgrad=True)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_saved_with_all_of_its_arguments():
    adam = keras.optimizers.Adam(0.25, name="mine", clipnorm=2.0)
    fused = optimizers.fuse(adam)
    assert fused is adam
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(fused))
    assert type(loaded) is optimizers.FusedAdam
    expected = keras.optimizers.Adam(0.25, name="mine", clipnorm=2.0).get_config()
    assert loaded.get_config() == expected


def test_what_a_user_set_on_an_optimizer_stays():
    adam = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    variable = keras.Variable(np.ones(3, np.float32), name="kernel")
    adam.exclude_from_weight_decay(var_list=[variable])
    optimizers.fuse(adam)
    adam.learning_rate = 0.5
    assert float(adam.learning_rate) == 0.5
    adam.apply([tf.zeros(3)], [variable])
    np.testing.assert_array_equal(variable, np.ones(3))


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.SGD, keras.optimizers.Nadam, keras.optimizers.Adamax]
)
def test_other_optimizers_are_left_alone(optimizer):
    assert type(optimizers.fuse(optimizer())) is optimizer


def test_weight_decay_shrinks_kernels_alone():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, name="bias_of_nobody"),
            keras.layers.BatchNormalization(),
        ]
    )
    kernel, *others = model.trainable_variables
    assert [variable.name for variable in others] == ["bias", "gamma", "beta"]
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones_like(variable))
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    # Also where a file or a strategy has made it again.
    saved = keras.saving.serialize_keras_object(optimizer)
    gradients = [tf.zeros_like(variable) for variable in model.trainable_variables]
    for count, each in enumerate([optimizer, keras.saving.deserialize_keras_object(saved)], 1):
        optimizers.fuse(each).apply(gradients, model.trainable_variables)
        np.testing.assert_allclose(kernel, np.full((4, 3), 0.95**count), rtol=1e-6)
        for variable in others:
            np.testing.assert_array_equal(variable, np.ones(3))


def test_adam_inside_a_loss_scale_is_fused():
    scaled = optimizers.fuse(keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()))
    assert type(scaled.inner_optimizer) is optimizers.FusedAdamW
