"""The small modules that every room uses: errors, checks, seeds and whole files."""
