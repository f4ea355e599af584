"""The files of translations: data that are read and written, doubts and summaries, and whose file is whose."""
