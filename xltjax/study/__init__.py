"""A study: the cells of a grid, the stages of each, what identifies a result, and the launchers that run them."""
