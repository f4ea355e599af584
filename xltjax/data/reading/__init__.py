"""Reading instruction data: which files of a source are data, tables, chat turns, and what becomes of odd rows."""
