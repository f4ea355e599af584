"""Translation of instruction data with existing engines, segment by segment."""
