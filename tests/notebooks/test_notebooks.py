"""The notebooks run from their first cell to their last, and show their figures."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent


@pytest.mark.parametrize("name", ["quick_start", pytest.param("lecture", marks=pytest.mark.slow)])
def test_it_runs(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": tmp_path}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        has_figure = any("image/png" in output.get("data", {}) for output in cell.outputs)
        assert has_figure == ("tfvae.figures." in cell.source or "plt.show()" in cell.source)
