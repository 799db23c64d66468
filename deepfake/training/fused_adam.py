"""Adam whose update of a variable is one operation of TensorFlow's.

Keras' own takes some thirty a variable, a third of all that a training step has: to make them and to run them
first is much of a small training's time. The formula is the same, and so are the optimizer's variables.
"""

from typing import Any


def make_adam(keras: Any, weight_decay: float, **options: Any) -> Any:
    """``keras.optimizers.Adam``, or ``AdamW`` where weights decay, with such updates."""
    import tensorflow as tf

    base: Any = keras.optimizers.AdamW if weight_decay else keras.optimizers.Adam
    powers: list[Any] = []  # of the update that is being traced

    class FusedAdam(base):
        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            step = tf.cast(self.iterations.value + 1, tf.float32)
            powers[:] = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]
            return super().apply(grads, trainable_variables)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            slot = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[slot].value.handle,
                v=self._velocities[slot].value.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=tf.cast(learning_rate, tf.float32),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    return FusedAdam(**({"weight_decay": weight_decay} if weight_decay else {}), **options)
