"""Every code block of the documentation is run, in order, in a folder of its own, or says why it is not.

    python docs/run_blocks.py README.md docs/*.md docs/course/*.md docs/tutorials/*.md

Blocks fenced as ``sh`` go to bash, blocks fenced as ``python`` to one interpreter for the whole file. Before the block:
``<!-- not run: WHY -->`` leaves it out; ``<!-- first: ... -->`` holds commands of the shell that prepare what the
block takes for granted (a photo, a folder), and are not shown. In the folder, `demo/photos` has the demo's photos and
`.venv` is this one; $VEDUTA is the project's folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEP = re.compile(r"<!-- (first|not run): ?(.*?)-->\n*|^```(\w*)\n(.*?)^```$", re.S | re.M)
SECONDS = 600


def steps(text):
    """Yield (language, code) of what is to be run, and ("", reason) for a block that is not."""
    reason = None
    for block in STEP.finditer(text):
        kind, comment, language, code = block.groups()
        if kind == "first":
            yield "sh", comment
        elif kind:
            reason = " ".join(comment.split())
        elif language in ("sh", "python"):
            yield ("", reason) if reason else (language, code)
            reason = None


def run(path):
    """Run the blocks of a file in a fresh folder; return how many were run and how many were not."""
    counts = {"run": 0, "not run": 0}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        environment = os.environ | {
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "VEDUTA": str(ROOT),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        with Interpreter(path, folder, environment) as interpreter:
            for language, code in steps(path.read_text("utf-8")):
                counts["run" if language else "not run"] += 1
                if language == "sh":
                    do(path, code, folder, environment)
                elif language == "python":
                    interpreter.run(code)
    return counts


def prepare(folder):
    """Put into a folder what the documentation takes for granted."""
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("photos", "views"):
        shutil.copytree(ROOT / "demo" / name, folder / "demo" / name)


def do(path, code, folder, environment):
    """Run one block of the shell; SystemExit with what it printed when it fails."""
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise SystemExit(failed(path, code, done.stdout + done.stderr))


def failed(path, code, output):
    """Return the message of a block that has failed."""
    return f"{path}: this block has failed:\n\n{code}\n{output[-4000:]}"


class Interpreter:
    """One Python for all blocks of a file, started when there is one."""

    LOOP = """
import sys
names = {"__name__": "__main__"}
for line in sys.stdin:
    exec(compile(open(line.strip()).read(), "block", "exec"), names)
    print("\\0", flush=True)
"""

    def __init__(self, path, folder, environment):
        self._path, self._folder, self._environment, self._process = path, folder, environment, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process:
            self._process.stdin.close()
            self._process.wait(SECONDS)
            self._process.stdout.close()

    def run(self, code):
        """Run a block; SystemExit with what it printed when it fails."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.LOOP],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        script = Path(self._folder) / ".block.py"
        script.write_text(code, "utf-8")
        self._process.stdin.write(f"{script}\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line == "\0\n":
                return
            lines.append(line)
        raise SystemExit(failed(self._path, code, "".join(lines)))


def main():
    """Run all files named on the command line."""
    sys.path.insert(0, str(ROOT / "demo"))
    import run as demo

    demo.fetch()
    demo.write_table()
    demo.questions()
    for name in sys.argv[1:]:
        counts = run(Path(name).absolute())
        if any(counts.values()):
            print(f"{name}: {counts['run']} blocks run, {counts['not run']} not, with the reason", flush=True)


if __name__ == "__main__":
    main()
