"""Engines that translate: CTranslate2, servers of Chat Completions, and transformers, behind one interface."""
