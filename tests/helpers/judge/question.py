"""The question that the paper puts to its judge."""

# The paper's Table 3, with its mixed quotation marks.
TABLE_3 = """You are evaluating a response that has been submitted for a particular task, using a specific set of \
standards. Below is the data:
[BEGIN DATA]
**
[Task]: {TASK}
**
[Submission]: {MODEL RESPONSE}
**
[Criterion]: relevance:
"0": "Not relevant - The generated text is irrelevant to the task and does not provide the answer."
“1”: “Relevant - The generated text is relevant to the task and provides an answer”
**
[END DATA]
Does the submission meet the criterion? Print 0 or 1. Do not output anything else."""
