"""The sections of a report: each says what one kind of scores shows, or what is missing."""
