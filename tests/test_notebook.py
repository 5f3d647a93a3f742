"""The notebook is stored without outputs, and runs from its first cell to its last."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_it_is_short_and_has_no_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert 4 <= len(code) <= 8
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert len(cell["source"]) <= 30
        compile("".join(cell["source"]), cell["id"], "exec")


def test_its_links_lead_somewhere():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = "".join(line for cell in cells for line in cell["source"])
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).is_file(), link


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    why = "the notebook's tools are not installed; scripts/add_tools.sh .venv"
    nbformat = pytest.importorskip("nbformat", reason=why)
    nbclient = pytest.importorskip("nbclient", reason=why)
    pytest.importorskip("ipykernel", reason=why)
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [json.dumps(cell.outputs) for cell in cells]
    assert "parameters" in shown[0] and "ground truth" in shown[0]
    assert "reward " in shown[1]
    assert "iframe srcdoc" in shown[2] and "A response, token by token" in shown[2]
    assert "train_runtime" in shown[3]
    assert "image/png" in shown[4]
    assert {path.name for path in tmp_path.iterdir()} <= {"prompt.txt", "out"}
