"""The course as pages: each lesson a notebook, executed, then Markdown with its pictures.

    python docs/course/build_pages.py notebooks OUT     # lessons as notebooks, and the photos they use
    python docs/course/build_pages.py pages OUT SITE    # executed notebooks as pages

A lesson is a script in jupytext's percent format. Cells tagged ``solution`` are folded away below the exercise they
solve, cells tagged ``drawing`` leave their picture and fold their code. What is drawn lies in OUT and is not committed.
"""

import base64
import re
import sys
from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).parent
FOLDS = {"solution": "Solution", "drawing": "The code of this picture"}
PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}


def lessons():
    """Return the scripts of the lessons, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def notebooks(out):
    """Write every lesson as a notebook that is still to be executed, and fetch the photos."""
    sys.path.insert(0, str(HERE.parent.parent / "demo"))
    import run

    run.fetch()
    out.mkdir(parents=True, exist_ok=True)
    for script in lessons():
        notebook = jupytext.read(script)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        # Where lessons look for what they share, whatever folder they are executed in.
        first = f"import sys; sys.path.insert(0, {str(HERE)!r})"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first, metadata={"tags": ["hidden"]}))
        nbformat.write(notebook, out / f"{script.stem}.ipynb")


def pages(out, site):
    """Write every executed notebook as a page with its pictures beside it."""
    site.mkdir(parents=True, exist_ok=True)
    for script in lessons():
        notebook = nbformat.read(out / f"{script.stem}.ipynb", as_version=4)
        folder = site / script.stem
        folder.mkdir(exist_ok=True)
        parts = [_cell(cell, number, folder) for number, cell in enumerate(notebook.cells)]
        (site / f"{script.stem}.md").write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")


def _cell(cell, number, folder):
    """Return a cell as Markdown."""
    tags = set(cell.metadata.get("tags", []))
    if cell.cell_type == "markdown":
        return cell.source
    if "hidden" in tags or not cell.source.strip():
        return ""
    if cell.get("execution_count") is None:
        raise SystemExit(f"{folder.name}: cell {number} was not executed")
    code = f"```python\n{cell.source}\n```"
    outputs = enumerate(_joined(cell.outputs))
    shown = "\n\n".join(filter(None, (_output(each, f"{number}-{i}", folder) for i, each in outputs)))
    if "drawing" in tags:
        return "\n\n".join(filter(None, [shown, _folded(FOLDS["drawing"], code)]))
    whole = "\n\n".join(filter(None, [code, shown]))
    return _folded(FOLDS["solution"], whole) if "solution" in tags else whole


def _folded(title, text):
    lines = "\n".join(f"    {line}" if line else "" for line in text.splitlines())
    return f'??? note "{title}"\n\n{lines}'


def _joined(outputs):
    """Return outputs, what was printed in several pieces one after another as one."""
    joined = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1] = {**joined[-1], "text": joined[-1]["text"] + output.text}
        else:
            joined.append(output)
    return [nbformat.from_dict(each) for each in joined]


def _output(output, name, folder):
    """Return what a cell has printed, shown or returned, pictures in files of their own."""
    if output.output_type == "error":
        raise SystemExit(f"{folder.name}: {output.ename}: {output.evalue}")
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    for kind, ending in PICTURES.items():
        if kind in data:
            file = folder / f"{name}.{ending}"
            file.write_bytes(base64.b64decode(data[kind]))
            title = output.get("metadata", {}).get("alt") or _title(folder.name)
            return f"![{title}]({folder.name}/{file.name})"
    if "text/markdown" in data:
        return data["text/markdown"]
    return f"```text\n{data['text/plain']}\n```" if "text/plain" in data else ""


def _title(name):
    return re.sub(r"^\d+_", "", name).replace("_", " ")


def main():
    """Do what the command line says."""
    step, *folders = sys.argv[1:]
    {"notebooks": notebooks, "pages": pages}[step](*map(Path, folders))


if __name__ == "__main__":
    main()
