# What .ci/run does in a fresh environment, for the one you are in.
.PHONY: check test docs docs-serve tables

check:
	ruff check .
	ruff format --check .
	mypy

test:
	pytest -n auto --dist loadfile

docs:  ## the site, in build/site; every link and anchor inside it is checked
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

docs-serve:
	mkdocs serve

tables:  ## regenerates the tables of docs/reference.md
	python tests/test_docs.py
