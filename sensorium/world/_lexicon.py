"""The words of the composed world in four languages: nouns, colours, sizes, places, grounds.

One line a word, so that a reader who knows a language can check its column from top to bottom.
Nouns take an indefinite article in all three European languages; the Chinese ones their measure
word. Colours that German or French do not inflect carry one form only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    """One kind of thing.

    Attributes:
        english, german, french, chinese: the noun, singular.
        german_gender: m, f or n.
        german_oblique: the noun in the accusative and the dative (weak nouns: Löwe, Löwen).
        french_gender: m or f.
        measure: the Chinese measure word.
    """

    english: str
    german: str
    german_gender: str
    german_oblique: str
    french: str
    french_gender: str
    chinese: str
    measure: str


# English | German gender, noun (oblique form where it differs) | French | Chinese measure, noun
_NOUNS = """
thing      | n Ding               | f chose         | 个 东西
cat        | f Katze              | m chat          | 只 猫
lion       | m Löwe Löwen         | m lion          | 头 狮子
dog        | m Hund               | m chien         | 只 狗
rabbit     | n Kaninchen          | m lapin         | 只 兔子
pig        | n Schwein            | m cochon        | 头 猪
monkey     | m Affe Affen         | m singe         | 只 猴子
horse      | n Pferd              | m cheval        | 匹 马
elephant   | m Elefant Elefanten  | m éléphant      | 头 大象
octopus    | m Oktopus            | f pieuvre       | 只 章鱼
bee        | f Biene              | f abeille       | 只 蜜蜂
fish       | m Fisch              | m poisson       | 条 鱼
turtle     | f Schildkröte        | f tortue        | 只 乌龟
bird       | m Vogel              | m oiseau        | 只 鸟
penguin    | m Pinguin            | m pingouin      | 只 企鹅
frog       | m Frosch             | f grenouille    | 只 青蛙
owl        | f Eule               | m hibou         | 只 猫头鹰
butterfly  | m Schmetterling      | m papillon      | 只 蝴蝶
giraffe    | f Giraffe            | f girafe        | 只 长颈鹿
swan       | m Schwan             | m cygne         | 只 天鹅
crab       | f Krabbe             | m crabe         | 只 螃蟹
spider     | f Spinne             | f araignée      | 只 蜘蛛
snail      | f Schnecke           | m escargot      | 只 蜗牛
snake      | f Schlange           | m serpent       | 条 蛇
crocodile  | n Krokodil           | m crocodile     | 条 鳄鱼
whale      | m Wal                | f baleine       | 头 鲸鱼
cactus     | m Kaktus             | m cactus        | 棵 仙人掌
tulip      | f Tulpe              | f tulipe        | 朵 郁金香
mushroom   | m Pilz               | m champignon    | 个 蘑菇
tree       | m Baum               | m arbre         | 棵 树
banana     | f Banane             | f banane        | 根 香蕉
pineapple  | f Ananas             | m ananas        | 个 菠萝
apple      | m Apfel              | f pomme         | 个 苹果
strawberry | f Erdbeere           | f fraise        | 颗 草莓
hamburger  | m Hamburger          | m hamburger     | 个 汉堡包
doughnut   | m Donut              | m beignet       | 个 甜甜圈
cake       | m Kuchen             | m gâteau        | 个 蛋糕
carrot     | f Karotte            | f carotte       | 根 胡萝卜
house      | n Haus               | f maison        | 座 房子
castle     | f Burg               | m château       | 座 城堡
rocket     | f Rakete             | f fusée         | 枚 火箭
helicopter | m Hubschrauber       | m hélicoptère   | 架 直升机
train      | m Zug                | m train         | 列 火车
bus        | m Bus                | m bus           | 辆 公共汽车
car        | n Auto               | f voiture       | 辆 汽车
ship       | n Schiff             | m navire        | 艘 轮船
bicycle    | n Fahrrad            | m vélo          | 辆 自行车
anchor     | m Anker              | f ancre         | 个 锚
sailboat   | n Segelboot          | m voilier       | 艘 帆船
airplane   | n Flugzeug           | m avion         | 架 飞机
umbrella   | m Regenschirm        | m parapluie     | 把 雨伞
balloon    | m Luftballon         | m ballon        | 个 气球
trophy     | m Pokal              | m trophée       | 座 奖杯
guitar     | f Gitarre            | f guitare       | 把 吉他
drum       | f Trommel            | m tambour       | 面 鼓
bell       | f Glocke             | f cloche        | 个 铃铛
key        | m Schlüssel          | f clé           | 把 钥匙
candle     | f Kerze              | f bougie        | 支 蜡烛
hammer     | m Hammer             | m marteau       | 把 锤子
book       | n Buch               | m livre         | 本 书
clock      | f Uhr                | f horloge       | 个 时钟
camera     | f Kamera             | m appareil photo | 台 照相机
lamp       | f Lampe              | f lampe         | 盏 灯
crown      | f Krone              | f couronne      | 顶 皇冠
hat        | m Hut                | m chapeau       | 顶 帽子
shoe       | m Schuh              | f chaussure     | 只 鞋子
shirt      | n Hemd               | f chemise       | 件 衬衫
dress      | n Kleid              | f robe          | 条 连衣裙
lock       | n Vorhängeschloss    | m cadenas       | 把 锁
bucket     | m Eimer              | m seau          | 个 水桶
broom      | m Besen              | m balai         | 把 扫帚
skull      | m Schädel            | m crâne         | 个 头骨
ghost      | n Gespenst           | m fantôme       | 个 幽灵
circle     | m Kreis              | m cercle        | 个 圆形
square     | n Quadrat            | m carré         | 个 正方形
triangle   | n Dreieck            | m triangle      | 个 三角形
diamond    | f Raute              | m losange       | 个 菱形
star       | m Stern              | f étoile        | 颗 星星
cross      | n Kreuz              | f croix         | 个 十字
ring       | m Ring               | m anneau        | 个 圆环
heart      | n Herz Herzen        | m cœur          | 颗 心
"""


def _noun(line: str) -> Noun:
    english, german, french, chinese = (part.strip() for part in line.split("|"))
    gender, nominative, *oblique = german.split()
    french_gender, _, french_noun = french.partition(" ")
    measure, chinese_noun = chinese.split()
    return Noun(english, nominative, gender, oblique[0] if oblique else nominative,
                french_noun, french_gender, chinese_noun, measure)  # fmt: skip


NOUNS = {noun.english: noun for noun in map(_noun, _NOUNS.strip().splitlines())}
THING = "thing"  # what is said where the kind is not mentioned

# English -> German stem (None of the eight ends in -e), French masculine and feminine, Chinese.
COLOURS = {
    "red": ("rot", "rouge", "rouge", "红色"),
    "green": ("grün", "vert", "verte", "绿色"),
    "blue": ("blau", "bleu", "bleue", "蓝色"),
    "yellow": ("gelb", "jaune", "jaune", "黄色"),
    "purple": ("violett", "violet", "violette", "紫色"),
    "orange": ("orangefarben", "orange", "orange", "橙色"),
    "white": ("weiß", "blanc", "blanche", "白色"),
    "brown": ("braun", "marron", "marron", "棕色"),
}
SIZES = {
    "small": ("klein", "petit", "petite", "小"),
    "large": ("groß", "grand", "grande", "大"),
}
# How things stand to each other: the German ones ask for the dative, the French ones end in "de".
RELATIONS = {
    "left_of": ("left of", "links von", "à gauche de", "左边"),
    "right_of": ("right of", "rechts von", "à droite de", "右边"),
    "above": ("above", "über", "au-dessus de", "上面"),
    "below": ("below", "unter", "au-dessous de", "下面"),
}
PLACES = {
    "top_left": (
        "in the top left corner", "in der linken oberen Ecke",
        "dans le coin supérieur gauche", "左上角",
    ),
    "top": ("at the top", "oben", "en haut", "上方"),
    "top_right": (
        "in the top right corner", "in der rechten oberen Ecke",
        "dans le coin supérieur droit", "右上角",
    ),
    "left": ("on the left", "links", "à gauche", "左侧"),
    "middle": ("in the middle", "in der Mitte", "au milieu", "中间"),
    "right": ("on the right", "rechts", "à droite", "右侧"),
    "bottom_left": (
        "in the bottom left corner", "in der linken unteren Ecke",
        "dans le coin inférieur gauche", "左下角",
    ),
    "bottom": ("at the bottom", "unten", "en bas", "下方"),
    "bottom_right": (
        "in the bottom right corner", "in der rechten unteren Ecke",
        "dans le coin inférieur droit", "右下角",
    ),
}  # fmt: skip
# English adjective; German adjective in the dative masculine (auf ... Grund); French apposition
# (sur fond ...), never inflected; Chinese.
GROUNDS = {
    "grey": ("grey", "grauem", "gris", "灰色"),
    "sand": ("sandy", "sandfarbenem", "sable", "沙色"),
    "sky": ("azure", "himmelblauem", "bleu ciel", "天蓝色"),
    "mint": ("mint", "mintgrünem", "vert menthe", "薄荷绿色"),
    "rose": ("pink", "rosafarbenem", "rose", "玫瑰色"),
    "lilac": ("lilac", "fliederfarbenem", "lilas", "丁香色"),
    "slate": ("slate", "schiefergrauem", "gris ardoise", "石板灰色"),
    "cream": ("cream", "cremefarbenem", "crème", "奶油色"),
}
STRIPES = {
    "none": ("without a pattern", "ohne Muster", "sans motif", "没有花纹"),
    "across": (
        "with horizontal stripes", "mit waagerechten Streifen", "à rayures horizontales", "有横条纹"
    ),
    "down": (
        "with vertical stripes", "mit senkrechten Streifen", "à rayures verticales", "有竖条纹"
    ),
    "rising": (
        "with rising stripes", "mit steigenden Streifen", "à rayures montantes", "有上升的斜条纹"
    ),
    "falling": (
        "with falling stripes", "mit fallenden Streifen", "à rayures descendantes", "有下降的斜条纹"
    ),
    "grid": ("with a grid", "mit einem Gitter", "à carreaux", "有方格"),
    "lattice": ("with a lattice", "mit einem Rautengitter", "à losanges", "有菱格"),
    "dots": ("with dots", "mit Punkten", "à pois", "有圆点"),
}  # fmt: skip
# The factor that only texts carry: the number of the room in which the picture hangs.
WORDS = {
    "one": ("one", "eins", "un", "一"),
    "two": ("two", "zwei", "deux", "二"),
    "three": ("three", "drei", "trois", "三"),
    "four": ("four", "vier", "quatre", "四"),
    "five": ("five", "fünf", "cinq", "五"),
    "six": ("six", "sechs", "six", "六"),
    "seven": ("seven", "sieben", "sept", "七"),
    "eight": ("eight", "acht", "huit", "八"),
}
