"""`python -m tfvae.cli` is the `tfvae` command."""

from tfvae.cli import main

main()
