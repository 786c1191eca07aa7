"""How large should z be? The same as `tfvae tune`; see README.md for many machines.

python tuning/latent_size.py --dataset digits --latent-dims 2 4 8 16 32 64
"""

import sys

from tfvae.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["tune"]
    sys.exit(main())
