"""The drawings of a report: colors, shapes and files."""
