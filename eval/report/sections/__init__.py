"""The sections of a report: each says in words, figures and tables what one kind of scores shows, or what is missing."""
