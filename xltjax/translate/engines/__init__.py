"""Engines that translate, behind one interface: CTranslate2, Chat Completions servers, and transformers."""
