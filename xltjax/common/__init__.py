"""What every part of xltjax uses: settings and commands, files, errors, progress, and facts about the machine.

Nothing in this folder imports anything of xltjax that lies outside of it.
"""
