"""Configurations shipped with xltjax: the paper's seven models, the two protocols, the miniature, studies."""
