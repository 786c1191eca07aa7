"""A trained model in a web page: one file that is opened by a double click and asks no network."""

from tfvae.explorer.page import write_page

__all__ = ["write_page"]
