"""The `tfvae` command as the main function of a forked process."""

import os
import signal
import sys

import tensorflow as tf

from tfvae import cli
from tfvae.training.backups import Backup


def main(*arguments):
    """Runs the command with these arguments."""
    sys.argv = ["tfvae", *arguments]
    sys.exit(cli.main())


def main_on_two_cpus(*arguments):
    """The same on a machine whose processor is two devices of TensorFlow."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, 2 * [tf.config.LogicalDeviceConfiguration()]
    )
    main(*arguments)


def main_killed_after(num_epochs, *arguments):
    """The same, killed as soon as there is a backup of so many epochs."""
    back_up = Backup.on_epoch_end

    def back_up_and_die(self, epoch, logs=None):
        back_up(self, epoch, logs)
        if epoch + 1 == int(num_epochs):
            os.kill(os.getpid(), signal.SIGKILL)

    Backup.on_epoch_end = back_up_and_die
    main(*arguments)
