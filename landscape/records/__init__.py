"""What lies on disk, read and written without torch: estimates, run folders, histories and surfaces."""

from landscape.records.estimate import Cost as Cost
from landscape.records.estimate import Estimate as Estimate
from landscape.records.estimate import Provenance as Provenance
from landscape.records.estimates import Estimates as Estimates
from landscape.records.json_lines import SCHEMA as SCHEMA
from landscape.records.json_lines import Records as Records
from landscape.records.json_lines import agree as agree
from landscape.records.json_lines import append as append
from landscape.records.json_lines import find as find
from landscape.records.json_lines import from_json as from_json
from landscape.records.json_lines import json_schema as json_schema
from landscape.records.json_lines import outdated as outdated
from landscape.records.json_lines import read as read
from landscape.records.json_lines import to_json as to_json
from landscape.records.run_folder import MEASURES as MEASURES
from landscape.records.run_folder import RunFolder as RunFolder
from landscape.records.run_folder import checkpoint_digest as checkpoint_digest
from landscape.records.run_folder import read_lines as read_lines
from landscape.records.run_folder import run_folders as run_folders
from landscape.records.storage import append_line as append_line
from landscape.records.storage import whole as whole
from landscape.records.storage import write_whole as write_whole
