"""Sentences of five languages, and an identifier that tests can tell what to say."""

import re

FRENCH = "Le chat dort sur le canapé pendant que la pluie tombe dehors."
ENGLISH = "The cat sleeps on the sofa while the rain falls outside."
RUSSIAN = "Кошка спит на диване, пока на улице идёт дождь."
RUSSIAN_2 = "Вечером мы ходили в театр и смотрели новую пьесу."
CHINESE = "今天天气很好，我们一起去公园散步，然后在湖边喝茶聊天。"
JAPANESE = "今日はとても天気がいいので、友達と一緒に公園を散歩しました。"
# What an English dictionary may hold.
WORDS = {"house", "cat", "House", "water", "IBM", "don't"}


def marked(text):
    """An identifier that reads the language off a mark: "fr1 b c" is French, with probability .9."""
    match = re.search(r"\b(en|fr|ru)(\d)", text)
    return (match[1], {"1": 0.9, "2": 0.3, "3": 0.31}[match[2]]) if match else ("xx", 0.05)
