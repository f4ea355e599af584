"""Texts in which ⟦what is translated⟧ is marked, and a tokenizer's limit for them."""

from __future__ import annotations

import regex

_MARKED = regex.compile(r"⟦(.*?)⟧", regex.DOTALL)


def plain(marked: str) -> str:
    """The text itself."""
    return _MARKED.sub(r"\1", marked)


def shouted(marked: str) -> str:
    """The text with capitals where it is translated."""
    return _MARKED.sub(lambda match: match[1].upper(), marked)


def segments_of(marked: str) -> list[str]:
    """What is translated, in order."""
    return _MARKED.findall(marked)


def fits(text: str) -> bool:
    """At most 150 tokens of about four letters."""
    return len(text) <= 600


def answer_of(words: int) -> str:
    """A long answer of several paragraphs, marked by its line, where no group of sentences is told apart."""
    sentences = (
        "The tide came in slowly that evening.",
        "Nobody on the pier had expected Dr. Almeida to return, least of all her brother.",
        "She asked for 2 cups of tea; they brought three!",
        "Was it the rain, or was it something else?",
    )
    paragraphs = []
    count = 0
    while count < words:
        paragraph = " ".join(sentences[(len(paragraphs) + place) % 4] for place in range(9))
        paragraphs.append(paragraph)
        count += len(paragraph.split())
    return "\n\n".join(paragraphs)


# Each is one kind of row: what stands between the marks goes to the engine, the rest is copied byte for byte.
MARKED = {
    "plain": "⟦What is the capital of France?⟧",
    "blanks around": "  \n\t⟦What is it?⟧ \t\n\n",
    "paragraphs": "⟦First paragraph. It goes on.⟧\n\n\n⟦Second one.⟧\n",
    "crlf": "⟦First line.⟧\r\n⟦Second line.⟧\r\n\r\n⟦Third.⟧\r\n",
    "old line ends": "⟦First line.⟧\r⟦Second line.⟧\u2028⟦Third line.⟧\x85⟦Fourth line.⟧",
    "trailing blanks": "⟦A line with a break.⟧  \n⟦Another.⟧\t\n",
    "bullets": "- ⟦green apples⟧\n* ⟦sour milk⟧\n+ ⟦old bread⟧\n• ⟦fine salt⟧\n•⟦white pepper⟧\n– ⟦some tea⟧",
    "numbers": "1. ⟦Open it.⟧\n2) ⟦Close it.⟧\n(3) ⟦Lock it.⟧\n4.⟦Leave it.⟧\n10.2. ⟦Come back.⟧\n① ⟦Stay here.⟧",
    "letters": "a) ⟦first one⟧\n(b) ⟦second one⟧\nC. ⟦third one⟧\n(ii) ⟦fourth one⟧\niv. ⟦fifth⟧\nХ) ⟦шестой⟧",
    "nested": "1. ⟦Outer item⟧\n   - ⟦inner item⟧\n\n     ⟦more of it⟧\n\t- ⟦inner tab⟧\n2. ⟦Next one⟧",
    "check boxes": "- [ ] ⟦to do⟧\n- [x] ⟦done already⟧\n☐ ⟦not yet⟧\n☑ ⟦all right⟧",
    "headings": "# ⟦Main title⟧\n\n## ⟦Second title⟧ ##\n⟦Setext title⟧\n============\n⟦Below.⟧\n---\n### 1. ⟦Next⟧",
    "quotation": "> ⟦She said so.⟧\n> > ⟦He did not.⟧\n>\n>⟦No blank here.⟧\n⟦Outside of it.⟧",
    "fence": "⟦Use this code:⟧\n\n```python\nprint('hello world')  # say it\n```\n⟦It prints a line.⟧",
    "fence of tildes": "~~~\nplain words of some prose here\n```\nstill inside\n~~~\n⟦After it.⟧",
    "fence in a list": "1. ⟦Run this:⟧\n\n   ```sh\n   make all\n   ```\n2. ⟦Then look.⟧",
    "fence in a quotation": "> ```\n> some code here\n> ```\n> ⟦Some text here.⟧",
    "fence that ends with its quotation": "> ```\n> some code here\n⟦Some text here.⟧",
    "open fence": "⟦Here it is:⟧\n```js\nlet a = 1;\n\nand more",
    "fence of Markdown": "```markdown\n# ⟦Some title⟧\n- ⟦some item⟧\n```\n⟦After it.⟧",
    "indented code": "⟦Like this:⟧\n\n    def f(x):\n        return x\n\n⟦That was all.⟧",
    "indented prose": "    ⟦Once upon a time there was a small house by the sea.⟧\n\n⟦Nobody lived there.⟧",
    "indented address": "⟦Write to them:⟧\n\n    ⟦Mary Smith⟧\n    ⟦12 Main Street⟧",
    "code without a fence": "⟦The answer:⟧\nimport os\n\ndef main(argv):\n    run(argv)\n\n⟦Done with it.⟧",
    "C without a fence": "#include <stdio.h>\nint main(void) {\n    puts(\"hi there\");\n}\n⟦It says hi.⟧",
    "SQL": "SELECT name FROM people;\n⟦This selects names.⟧",
    "prose like code": "- ⟦make sure to go⟧\n- ⟦for example:⟧\n- ⟦print the page⟧\n- ⟦if so:⟧\n- ⟦import tax (low)⟧",
    "JSON": '{\n  "name": "Some one",\n  "age": 3\n}\n⟦That is JSON.⟧',
    "inline code": "⟦Call⟧ `print(x)` ⟦to see it.⟧ ⟦Then stop.⟧",
    "inline code of two ticks": "⟦Write⟧ ``a`b`` ⟦here.⟧",
    "tick alone": "⟦It costs ` nothing at all.⟧",
    "inline code at the end": "⟦The answer is⟧ `abc_def`.",
    "address": "⟦See⟧ https://example.com/a_(b)?c=d#e. ⟦It is good.⟧",
    "address in brackets": "⟦Our site⟧ (http://example.com/x) ⟦is new.⟧",
    "address in Chinese": "⟦请访问⟧https://example.com/index.html。⟦谢谢你。⟧",
    "e-mail": "⟦Write to⟧ first.last+tag@mail.example.co.uk, ⟦or call us.⟧",
    "bare domain": "⟦Go to⟧ www.example.org/path ⟦or⟧ example.com ⟦now.⟧",
    "paths": "⟦Open⟧ /usr/local/bin ⟦or⟧ C:\\Users\\me\\x.txt ⟦there.⟧",
    "links": "⟦Read⟧ [⟦the manual⟧](https://example.com/m 'Title') ⟦first.⟧\n\n![⟦a red cat⟧](cat.png)",
    "references": "⟦Read⟧ [⟦the manual⟧][man] ⟦first.⟧\n\n[man]: https://example.com/m",
    "HTML": '<div class="Box">\n  <p>⟦Some⟧ <b>⟦bold words⟧</b> ⟦here.⟧</p>\n</div>',
    "script": "<script>\nvar text = 'some words';\n</script>\n<style>\np { color: red }\n</style>\n⟦After it.⟧",
    "comment": "⟦Before it.⟧ <!-- a comment\nof two lines --> ⟦After it.⟧",
    "tag in code": "⟦Use⟧ `<script>` ⟦with care.⟧\n⟦Or do not.⟧",
    "entities": "⟦Fish⟧ &amp; ⟦chips⟧&nbsp;",
    "no tags": "⟦We know that a < b and c > d, and I <3 you.⟧",
    "table": "| ⟦Full name⟧ | ⟦Age⟧ |\n|:-----|----:|\n| ⟦Ann Lee⟧ | 12 |\n| `x|y` | 3.5 |\n\n⟦After it.⟧",
    "table without frame": "⟦Full name⟧|⟦Home town⟧\n---|---\n⟦Ann Lee⟧|⟦New York⟧",
    "tabs": "⟦Full name⟧\t⟦Age⟧\t12\n⟦Ann Lee⟧\t\t15",
    "columns": "⟦Full name⟧     ⟦Home town⟧\n⟦Ann Lee⟧       ⟦New York⟧",
    "box": "┌──────┬─────┐\n│ ⟦Some name⟧ │ 12 │\n└──────┴─────┘",
    "formulas": "⟦If⟧ $x = 2$ ⟦then⟧ \\(y^2\\) ⟦grows.⟧\n$$\na + bc = d\n$$\n\\[ \\text{no words} = 1 \\]",
    "money": "⟦It costs $5 or $6 a day, R$ 50 in all.⟧",
    "escaped brackets": "⟦Dear \\[Your Name\\], hello.⟧",
    "LaTeX": (
        "\\section{⟦My title⟧}\n\\begin{align}\na &= bc\n\\end{align}\n"
        "⟦See⟧ \\ref{fig:one} ⟦and⟧ \\textbf{⟦bold words⟧} ⟦there.⟧"
    ),
    "numbers alone": "42\n3.14\n1,000\n10:30\n- 7\n| 1 | 2 |",
    "one letter": "B",
    "emoji": "🎉🎉\n⟦Well done!⟧ 😀👩‍🚀 ⟦Go on.⟧ 🇫🇷\n👍 ⟦Nice one.⟧ 1️⃣ ⟦First one.⟧",
    "emphasis": "**⟦Whole line⟧**\n⟦This is **very** important.⟧\n**⟦Note:⟧** ⟦read this.⟧\n*⟦Tip⟧*: ⟦do it.⟧",
    "verse": "⟦Roses are red,⟧\n⟦violets are blue,⟧\n⟦sugar is sweet⟧\n⟦and so are you.⟧",
    "dialogue": "⟦Ann: Where have you been all this long and rainy afternoon, dear?⟧\n⟦Bob: At home, of course.⟧",
    "hard-wrapped": (
        "⟦This paragraph was wrapped by hand at about seventy columns, as people\n"
        "did in the old days of electronic mail, so that every line is full and\n"
        "the sentences go over the ends of lines.⟧\n\n⟦Next one.⟧"
    ),
    "hard-wrapped item": (
        "- ⟦This item was wrapped by hand at about seventy columns, as people do\n"
        "  in files of plain text, so that it goes on below.⟧\n- ⟦Next one.⟧"
    ),
    "placeholders of programs": (
        "⟦Dear⟧ {name}, ⟦your code is⟧ {{ code }}.\n{% if paid %}⟦Thank you,⟧ %s.{% endif %}\n"
        "⟦You have⟧ {0} ⟦of⟧ %(count)d ⟦items and⟧ ${money}. ⟦It is 20% higher and 5 %.⟧"
    ),
    "chat template": "<|im_start|>⟦Hello there.⟧<|im_end|>",
    "encoded data": "⟦The key:⟧ QWxhZGRpbjpvcGVuIHNlc2FtZQ1QWxhZGRpbjpvcGVuIHNlc2FtZQ1= ⟦is secret.⟧",
    "unusable characters": "⟦one two⟧\x00⟦three four⟧\ud800⟦five six⟧\ufeff",
    "Chinese": "⟦今天天气很好。我们去公园吧！⟧\n\n1、⟦第一点⟧\n（2）⟦第二点⟧",
    "Thai": "⟦สวัสดีครับ ผมชื่อสมชาย⟧\n- ⟦ขอบคุณ⟧",
    "Arabic": "⟦مرحبا بك. كيف حالك؟⟧\n\n١. ⟦الأول هنا⟧",
    "Japanese": "⟦これは何ですか。はい、そうです。⟧\n・⟦りんご⟧",
    "nothing": "",
    "blank": " \n\t\n ",
    "marks": "...\n***\n—\n?!",
}  # fmt: skip
