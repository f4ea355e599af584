"""What is made of the scores of all cells: one table, and the effects that the study is to show."""
