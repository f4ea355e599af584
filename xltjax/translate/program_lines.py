"""Lines of a program that stand in a text without a fence around them."""

from __future__ import annotations

import regex

# A line has to look like a program beyond doubt, since what is taken for code stays untranslated: "make sure to",
# "for example:", "if you like:" and "print the page" are prose, also where a list writes them in lower case.
_NAME = r"[A-Za-z_$][\w$]*"
_DOTTED = rf"{_NAME}(?:\.{_NAME})*+"
_PROGRAM = regex.compile(
    r"[ \t]*+(?:"
    rf"(?:from {_DOTTED} )?import [\w.*{{(]++(?: as \w++)?(?:, ?[\w.*{{(]++(?: as \w++)?)*+[)}}]?;?[ \t]*+$"
    r"|import .* from ['\"]"
    rf"|(?:export |async |public |static |pub |local )*(?:def|function|func|fn)\*? {_NAME}[ \t]?[(<]"
    rf"|(?:public |abstract |export |final )*(?:class|interface|struct|enum) {_NAME}(?:\([^()]*\))?[^.]*[:{{][ \t]*+$"
    rf"|(?:const|let|var|local|int|float|double|char|bool|void|auto|string|String|boolean|long)(?:\[\])?[*&]? "
    rf"[*&]?{_NAME}[ \t]?[=;(\[]"
    r"|(?:public|private|protected|static)\b.*[{;(][ \t]*+$"
    r"|\}?[ \t]*+(?:else if|if|for|while|switch|elif|catch) ?\(.*\)[ \t]*+\{?[ \t]*+$"
    r"|(?:if|elif|while|for|with|except) (?=.*(?:[=!<>]=|[\w\])]\(|[\[_]|\bin \w+:| as \w+:)).*:[ \t]*+$"
    r"|\}?[ \t]*+(?:else|try|finally|do)[ \t]?[:{][ \t]*+$"
    r"|return\b[^.!?]*[;()\[\]=+*_]"
    rf"|{_DOTTED}(?:\[[^\]\n]*\])?[ \t]*+(?:[+\-*/|&:]?=|<-)[ \t]*+"
    r"(?:[\"'\[{(\d]|[\w.]+[(\[]|new |None\b|True\b|False\b|null\b|true\b|false\b)"
    rf"|(?=[a-z_]){_DOTTED}\((?!(?:e?s|en?|x)\)).*\)[ \t]*+;?[ \t]*+$"
    r"|\{?[ \t]*+\"[^\"\n]+\"[ \t]*+:[ \t]*+\S|[\[{][ \t]*+[\[{\"].*[\]}][ \t]*+,?$"
    r"|[a-z\-]+:[ \t]*+[\w#.%(), \-\"']+;[ \t]*+$"
    r"|SELECT\b.*(?:\bFROM\b|,[ \t]*+$|\*)|(?:INSERT INTO|DELETE FROM|CREATE TABLE|ALTER TABLE|DROP TABLE|UPDATE) \S"
    r"|(?:FROM|WHERE|(?:INNER |LEFT |RIGHT )?JOIN|GROUP BY|ORDER BY|VALUES) .*(?:[;=(]|\b[a-z]\w*)[ \t]*+$"
    r"|\$ \S|(?:sudo|pip3? install|npm (?:install|run)|apt-get|brew install|conda (?:install|create)"
    r"|docker (?:run|build)) \S|git (?:clone|add|commit|push|pull|checkout|init|status|merge)\b"
    r"|#!|#[ \t]?include\b|#define\b|<\?php|console\.|System\.out|>>> |@\w+(?:\(.*\))?[ \t]*+$|//[ \t]?\S|/\*"
    r"|using [\w.]+;|package [\w.]+;|namespace [\w.:]+[ \t]?[{;]?[ \t]*+$"
    r")"
)
_ENDING = regex.compile(r"[=)\]]\s?;\Z|[\w)\]>]\s?\{\Z")
_SIGN = regex.compile(
    r"[{}=<>\\`^]|\w[(\[]\w|\(\)|\w_\w|::|://|\+\+|&&|\|\||\s--?[a-z]|\$[a-z]|;\s*(?:\n|\Z)"
)
LONGEST = 2000  # characters of a line that may be a program's


def program_line(line: str) -> bool:
    """Whether ``line`` can only be a line of a program."""
    if len(line) > LONGEST:
        return False
    return _PROGRAM.match(line) is not None or _ENDING.search(line.rstrip()[-3:]) is not None


def sign_of_code(text: str) -> bool:
    """Whether ``text`` has any sign that programs use and prose rarely does."""
    return _SIGN.search(text) is not None
