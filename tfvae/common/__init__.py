"""The small modules that every room uses: errors, checks, images, seeds and whole files."""
