"""Importers of files of any shape as histories of events, by mappings; some for public data sets come along."""

from data.importers.import_files import import_files
from data.importers.mapping import SHIPPED, load_mapping
from data.importers.report import ImportReport

__all__ = ["SHIPPED", "ImportReport", "import_files", "load_mapping"]
