"""Importers of public e-commerce data sets as histories of events."""

from data.importers.import_file import FORMATS, import_file
from data.importers.report import ImportReport

__all__ = ["FORMATS", "ImportReport", "import_file"]
