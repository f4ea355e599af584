"""The numbers of a report: what was found, what is compared, and every estimate."""
