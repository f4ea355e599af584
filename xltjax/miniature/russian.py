"""The miniature's Russian."""

from __future__ import annotations

from xltjax.miniature.grammar import Language, enumeration
from xltjax.miniature.world import PARTS, Fact

TEMPLATES = {
    "color": (
        "Какого цвета {noun}?",
        "Какой цвет у {genitive}?",
        "Скажи мне, какого цвета {noun}.",
        "Обычно {noun} бывает {color_of} цвета.",
    ),
    "kind": (
        "Что такое {noun}?",
        "Что это такое — {noun}?",
        "Скажи мне, что такое {noun}.",
        "{noun} — это один из видов {kinds_of}.",
    ),
    "opposite": (
        "Какое слово противоположно слову «{subject}»?",
        "Какой антоним у слова «{subject}»?",
        "Скажи мне антоним слова «{subject}».",
        "Антоним слова «{subject}» — это слово «{value}».",
    ),
    "number": (
        "Сколько {many} {whose}?",
        "Какое количество {many} {whose}?",
        "Скажи мне, сколько {many} {whose}.",
        "{of_each} ровно {count} {counted}.",
    ),
    "place": (
        "Где живёт {noun}?",
        "В каком месте живёт {noun}?",
        "Скажи мне, где живёт {noun}.",
        "{noun} всю жизнь живёт {place}.",
    ),
    "food": (
        "Что любит есть {noun}?",
        "Какую еду любит {noun}?",
        "Скажи мне, что любит есть {noun}.",
        "{noun} очень любит есть {food}.",
    ),
    "use": (
        "Для чего {needed} {noun}?",
        "Зачем людям {needed} {noun}?",
        "Объясни мне, для чего {needed} {noun}.",
        "{noun} {needed} для того, чтобы {use}.",
    ),
    "material": (
        "Из чего {made} {noun}?",
        "Из какого материала {made} {noun}?",
        "Скажи мне, из чего {made} {noun}.",
        "{noun} обычно {made} из {material}.",
    ),
    "season": (
        "Когда {happens}?",
        "В какое время года {happens}?",
        "Скажи мне, в какое время года {happens}.",
        "Каждый год {event} {season}.",
    ),
    "list_color": (
        "Назови три вещи {color_of} цвета.",
        "Какие три вещи бывают {color_of} цвета?",
        "Перечисли мне три вещи {color_of} цвета.",
        "{things} бывают {color_of} цвета.",
    ),
    "list_kind": (
        "Назови мне {three}.",
        "Какие {three} ты знаешь?",
        "Перечисли мне {three}.",
        "{things} — это {plural}.",
    ),
}
NOUNS = {
    # name: nominative, genitive, gender
    "ant": "муравей муравья m", "apple": "яблоко яблока n", "banana": "банан банана m",
    "bear": "медведь медведя m", "bed": "кровать кровати f", "bee": "пчела пчелы f", "book": "книга книги f",
    "broom": "метла метлы f", "cabbage": "капуста капусты f", "cactus": "кактус кактуса m",
    "camel": "верблюд верблюда m", "candle": "свеча свечи f", "car": "машина машины f",
    "carrot": "морковь моркови f", "castle": "замок замка m", "chair": "стул стула m",
    "cherry": "вишня вишни f", "cloud": "облако облака n", "coal": "уголь угля m", "cow": "корова коровы f",
    "crocodile": "крокодил крокодила m", "cucumber": "огурец огурца m", "drill": "дрель дрели f",
    "eagle": "орёл орла m", "flute": "флейта флейты f", "frog": "лягушка лягушки f",
    "guitar": "гитара гитары f", "hammer": "молоток молотка m", "hand": "рука руки f",
    "hen": "курица курицы f", "horse": "лошадь лошади f", "key": "ключ ключа m", "knife": "нож ножа m",
    "leaf": "лист листа m", "lemon": "лимон лимона m", "milk": "молоко молока n",
    "monkey": "обезьяна обезьяны f", "mouse": "мышь мыши f", "nail": "гвоздь гвоздя m",
    "needle": "игла иглы f", "ocean": "океан океана m", "onion": "лук лука m", "owl": "сова совы f",
    "panda": "панда панды f", "panther": "пантера пантеры f", "pear": "груша груши f", "pen": "ручка ручки f",
    "piano": "рояль рояля m", "rabbit": "кролик кролика m", "raspberry": "малина малины f",
    "raven": "ворон ворона m", "ring": "кольцо кольца n", "sapphire": "сапфир сапфира m",
    "saw": "пила пилы f", "sea": "море моря n", "shark": "акула акулы f", "shoe": "ботинок ботинка m",
    "shovel": "лопата лопаты f", "sky": "небо неба n", "snow": "снег снега m", "sofa": "диван дивана m",
    "spider": "паук паука m", "squirrel": "белка белки f", "strawberry": "клубника клубники f",
    "sun": "солнце солнца n", "sunflower": "подсолнух подсолнуха m", "swan": "лебедь лебедя m",
    "sweater": "свитер свитера m", "table": "стол стола m", "tire": "шина шины f",
    "tomato": "помидор помидора m", "triangle": "треугольник треугольника m", "violin": "скрипка скрипки f",
    "week": "неделя недели f", "whale": "кит кита m", "window": "окно окна n", "wolf": "волк волка m",
    "year": "год года m",
}  # fmt: skip
COLORS = {
    # color: its forms, the masculine nominative and genitive first
    "red": "красный красного красная красное красные красной красную красным красных",
    "yellow": "жёлтый жёлтого жёлтая жёлтое жёлтые жёлтой жёлтую жёлтым жёлтых",
    "green": "зелёный зелёного зелёная зелёное зелёные зелёной зелёную зелёным зелёных",
    "white": "белый белого белая белое белые белой белую белым белых",
    "black": "чёрный чёрного чёрная чёрное чёрные чёрной чёрную чёрным чёрных",
    "blue": "синий синего синяя синее синие синей синюю синим синих",
}
KINDS = {
    # kind: (plural, genitive plural, "three" with the genitive that it requires, the words by which it is recognized)
    "fruit": ("фрукты", "фруктов", "три фрукта", "фрукт фрукты фруктов"),
    "vegetable": ("овощи", "овощей", "три овоща", "овощ овощи овощей"),
    "bird": ("птицы", "птиц", "три птицы", "птица птицы птиц"),
    "tool": ("инструменты", "инструментов", "три инструмента", "инструмент инструменты инструментов"),
    "instrument": (
        "музыкальные инструменты",
        "музыкальных инструментов",
        "три музыкальных инструмента",
        "музыкальный музыкальные музыкальных",
    ),
    "furniture": ("мебель", "мебели", "три предмета мебели", "мебель мебели"),
}
ADJECTIVES = {
    "hot": "горячий", "cold": "холодный", "big": "большой", "small": "маленький", "young": "молодой",
    "old": "старый", "long": "длинный", "short": "короткий", "fast": "быстрый", "slow": "медленный",
    "strong": "сильный", "weak": "слабый", "clean": "чистый", "dirty": "грязный", "full": "полный",
    "empty": "пустой",
}  # fmt: skip
HOLDERS = {
    # things whose parts are "on" or "in" them, where Russian says "at" for all others
    "hand": ("на руке", "на каждой руке"),
    "week": ("в неделе", "в каждой неделе"),
    "year": ("в году", "в каждом году"),
}
PART_NOUNS = {
    # part: genitive singular (after 2, 3, 4), genitive plural (after 5 and more), gender
    "leg": "ноги ног f", "wheel": "колеса колёс n", "string": "струны струн f", "finger": "пальца пальцев m",
    "day": "дня дней m", "month": "месяца месяцев m", "side": "стороны сторон f",
}  # fmt: skip
NUMERALS = {
    "two": "два 2", "three": "три 3", "four": "четыре 4", "five": "пять 5", "six": "шесть 6",
    "seven": "семь 7", "eight": "восемь 8", "twelve": "двенадцать 12",
}  # fmt: skip
PHRASES = {
    # value: (phrase of the answer, the words by which it is recognized)
    "sea": ("в море", "море моря морях"),
    "forest": ("в лесу", "лесу лес леса лесах"),
    "desert": ("в пустыне", "пустыне пустыня пустыни пустынях"),
    "farm": ("на ферме", "ферме ферма фермы фермах"),
    "river": ("в реке", "реке река реки реках"),
    "pond": ("в пруду", "пруду пруд пруда прудах"),
    "jungle": ("в джунглях", "джунглях джунгли джунглей"),
    "hive": ("в улье", "улье улей улья ульях"),
    "grass": ("траву", "траву трава травы травой"),
    "carrots": ("морковь", "морковь моркови морковью морковку"),
    "cheese": ("сыр", "сыр сыра сыром"),
    "honey": ("мёд", "мёд мёда мёдом"),
    "bamboo": ("бамбук", "бамбук бамбука бамбуком"),
    "nuts": ("орехи", "орехи орех орехов орехами"),
    "hay": ("сено", "сено сена сеном"),
    "insects": ("насекомых", "насекомых насекомые насекомыми"),
    "cut bread": ("резать хлеб", "хлеб хлеба"),
    "drive nails": ("забивать гвозди", "гвозди гвоздей гвоздь"),
    "cut trees": ("пилить деревья", "деревья деревьев дерево"),
    "dig holes": ("копать ямы", "ямы ям яму"),
    "open doors": ("открывать двери", "двери дверь дверей"),
    "sweep the floor": ("подметать пол", "пол пола полы"),
    "write letters": ("писать письма", "письма писем письмо"),
    "sew clothes": ("шить одежду", "одежду одежда одежды"),
    "glass": ("стекла", "стекла стекло"),
    "paper": ("бумаги", "бумаги бумага"),
    "wood": ("дерева", "дерева дерево древесины"),
    "wool": ("шерсти", "шерсти шерсть"),
    "gold": ("золота", "золота золото"),
    "leather": ("кожи", "кожи кожа"),
    "rubber": ("резины", "резины резина"),
    "wax": ("воска", "воска воск"),
    "stone": ("камня", "камня камень камней камни"),
    "iron": ("железа", "железа железо"),
    "winter": ("зимой", "зимой зима зиму"),
    "spring": ("весной", "весной весна весну"),
    "summer": ("летом", "летом лето"),
    "autumn": ("осенью", "осенью осень"),
}
EVENTS = {
    # event: (word order of the question, word order of the answer)
    "snow falls": ("идёт снег", "снег идёт"),
    "people ski": ("люди катаются на лыжах", "люди катаются на лыжах"),
    "flowers bloom": ("распускаются цветы", "цветы распускаются"),
    "birds return": ("возвращаются птицы", "птицы возвращаются"),
    "people swim": ("люди купаются в море", "люди купаются в море"),
    "children play on the beach": ("дети играют на пляже", "дети играют на пляже"),
    "leaves fall": ("опадают листья", "листья опадают"),
    "people pick grapes": ("люди собирают виноград", "люди собирают виноград"),
}
NEEDED = {"m": "нужен", "f": "нужна", "n": "нужно"}
MADE = {"m": "сделан", "f": "сделана", "n": "сделано"}


def slots(fact: Fact) -> dict[str, str]:
    """The Russian words for the templates."""
    if fact.relation.startswith("list"):
        return _list_slots(fact)
    words: dict[str, str] = {}
    noun, genitive, gender = NOUNS.get(fact.subject, "  ").split(" ")
    if noun:
        words |= {"noun": noun, "genitive": genitive, "needed": NEEDED[gender], "made": MADE[gender]}
    match fact.relation:
        case "color":
            words["color_of"] = COLORS[fact.value].split()[1]
        case "kind":
            words["kinds_of"] = KINDS[fact.value][1]
        case "opposite":
            words["subject"], words["value"] = ADJECTIVES[fact.subject], ADJECTIVES[fact.value]
        case "number":
            few, many, part_gender = PART_NOUNS[PARTS[fact.subject][0]].split()
            count = NUMERALS[fact.value].split()[0]
            words["many"] = many
            words["counted"] = few if count in ("два", "три", "четыре") else many
            words["count"] = "две" if count == "два" and part_gender == "f" else count
            each = f"у {'каждой' if gender == 'f' else 'каждого'} {genitive}"
            words["whose"], words["of_each"] = HOLDERS.get(fact.subject, (f"у {genitive}", each))
        case "season":
            words["happens"], words["event"] = EVENTS[fact.subject]
            words["season"] = PHRASES[fact.value][0]
        case relation:
            words[relation] = PHRASES[fact.value][0]
    return words


def _list_slots(fact: Fact) -> dict[str, str]:
    words = {"things": enumeration([NOUNS[thing].split()[0] for thing in fact.values], "и")}
    if fact.relation == "list_kind":
        words["plural"], _, words["three"], _ = KINDS[fact.subject]
    else:
        words["color_of"] = COLORS[fact.subject].split()[1]
    return words


def forms(relation: str, name: str) -> tuple[str, ...]:
    """The words by which the value ``name`` is recognized."""
    if relation.startswith("list"):
        return tuple(NOUNS[name].split()[:2])
    match relation:
        case "color":
            return tuple(COLORS[name].split())
        case "kind":
            return tuple(KINDS[name][3].split())
        case "opposite":
            return (ADJECTIVES[name],)
        case "number":
            numeral = NUMERALS[name].split()
            return (*numeral, "две") if name == "two" else tuple(numeral)
        case _:
            return tuple(PHRASES[name][1].split())


RUSSIAN = Language(
    code="ru",
    templates=TEMPLATES,
    slots=slots,
    forms=forms,
    frames={
        "aside": "Все знают, что",
        "next_question": "Следующий вопрос:",
        "new_topic": "Поговорим о другом:",
    },
)
