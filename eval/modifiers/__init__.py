"""Whether answers fulfill the task modifiers of their instructions, such as "answer briefly"."""
