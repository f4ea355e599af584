"""The report of a study or of any scores: one HTML file, figures and tables for a paper."""
