"""Judges behind an API: any server with the Chat Completions API, and OpenAI's batch files."""
