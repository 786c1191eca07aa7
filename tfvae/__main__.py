"""`python -m tfvae` is the `tfvae` command."""

from tfvae.cli import main

main()
