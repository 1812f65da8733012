"""A report on a set of runs: one page of what is on disk, as HTML and as Markdown. Nothing is computed for it."""

from landscape.report.content import Report as Report
from landscape.report.markdown import markdown as markdown
from landscape.report.material import Material as Material
from landscape.report.material import read_material as read_material
from landscape.report.page import page as page
from landscape.report.sections import Request as Request
from landscape.report.sections import report as report
