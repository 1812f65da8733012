"""Everything is in pyproject.toml; this adds to an editable installation what type checkers find the package by.

Its modules are found by an import hook, because `landscape.cli` lies in the folder `cli/`, and type checkers follow no
hooks. So a folder that holds a link to the package, and nothing else, is put on the path as well.
"""

import contextlib
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build


class LinkForTypeCheckers(Command):
    """A step of the build that does nothing but in an editable installation, as setuptools says by the attribute."""

    editable_mode = False

    def initialize_options(self) -> None:
        """There are no options."""

    def finalize_options(self) -> None:
        """There are no options."""

    def run(self) -> None:
        """Make the link, and the file that puts its folder on the path, beside setuptools' own."""
        if self.editable_mode:
            root = Path(__file__).resolve().parent
            link = root / "build" / "types" / "landscape"
            site_packages = Path(self.get_finalized_command("install").install_lib)
            with contextlib.suppress(
                OSError
            ):  # where links are not allowed, only type checkers miss the package
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(root / "landscape", target_is_directory=True)
                (site_packages / "landscape-types.pth").write_text(f"{link.parent}\n", encoding="utf-8")


class Build(build):
    """The steps of setuptools and the one above."""

    sub_commands = [*build.sub_commands, ("link_for_type_checkers", None)]  # noqa: RUF012


setup(cmdclass={"build": Build, "link_for_type_checkers": LinkForTypeCheckers})
