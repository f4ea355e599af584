"""Statistics of scores: intervals, paired comparisons of models, and agreement between raters."""
