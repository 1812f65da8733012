# What .ci/run does in a fresh environment, for the one you are in.
.PHONY: check test docs

check:
	ruff check .
	ruff format --check .
	mypy

test:
	pytest -n auto --dist loadfile

docs:  ## regenerates the tables of docs/reference.md
	python tests/test_docs.py
