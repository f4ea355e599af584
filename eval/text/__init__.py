"""Text as it is read by the metrics: markup taken away, sentences and words found."""
