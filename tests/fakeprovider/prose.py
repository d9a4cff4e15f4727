"""Everyday sentences in four languages, with enough numbers and words in them that hardly two texts are alike."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Voice:
    sentences: tuple[str, ...]
    captions: tuple[str, ...]
    titles: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    joint: str


EN = Voice(
    joint=" ",
    sentences=(
        "We waited {n} minutes for the {bus} at {place} and then {who} walked home.",
        "{Who} bought {n} {food} at {place} for {m} dollars on {day}.",
        "The queue outside {place} had {n} people in it before {m} in the morning.",
        "Does anyone know whether {place} is open on {day}, or only after {n} o'clock?",
        "My {kin} planted {n} {plant} last {day} and {m} of them are already growing.",
        "It rained for {n} hours, so {who} stayed inside and cooked {food}.",
        "I read {n} pages of that book on the {bus} and missed my stop by {m} minutes.",
        "{Who} said that the new {thing} costs {n} dollars less than the old one.",
        "On {day} we cleaned the whole kitchen and found {n} spoons and {m} lids.",
        "The {thing} in the corridor has been making a noise for {n} days now.",
        "Please bring {n} chairs and {m} plates, because {who} invited everybody.",
        "After {n} tries the {thing} works again, and {who} is very proud of it.",
        "There are {n} seats left for the walk around {place} on {day}.",
        "The cat slept on the {thing} for {n} hours and nobody dared to move it.",
    ),
    captions=(
        "A photo of {n} people with {food} in front of {place}.",
        "A cat sits on the {thing} and looks at {n} plates of {food}.",
        "Two panels: {who} waits for the {bus}, then {who} still waits {n} hours later.",
    ),
    titles=("{Thing} with {n} parts, hardly used", "{n} {plant} for the balcony, pick up at {place}", "Old {thing}, {n} years old, still good"),
    words={
        "bus": ("bus", "train", "ferry", "airport shuttle", "number nine bus"),
        "place": ("the market", "the library", "the swimming pool", "the noodle shop", "the community centre", "the station", "the park",
                  "the clinic next door", "the bakery", "the sports hall"),
        "who": ("my neighbour", "our teacher", "the uncle downstairs", "my sister", "the new colleague", "the coach", "grandmother", "the landlord",
                "my best friend", "the baker"),
        "kin": ("brother", "aunt", "father", "cousin", "mother", "grandfather"),
        "food": ("dumplings", "fried noodles", "banana cakes", "rice rolls", "curry puffs", "mango slices", "egg tarts", "fish balls"),
        "plant": ("tomato plants", "chilli plants", "basil seedlings", "orchids", "sunflowers", "mint cuttings"),
        "thing": ("washing machine", "bicycle", "table lamp", "fan", "rice cooker", "bookshelf", "sewing machine", "radio", "sofa", "printer"),
        "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "the public holiday"),
    },
)  # fmt: skip

ZH = Voice(
    joint="",
    sentences=(
        "{day}我们在{place}等了{n}分钟的{bus},最后{who}走路回家了。",
        "{who}在{place}花了{m}块钱买了{n}个{food}。",
        "早上还不到{m}点,{place}外面就已经排了{n}个人。",
        "有人知道{place}{day}开不开门吗?听说要{n}点以后才营业。",
        "我的{kin}上个月种了{n}棵{plant},现在有{m}棵已经长高了。",
        "下了{n}个小时的雨,{who}只好待在家里做{food}。",
        "我坐{bus}的时候看了{n}页书,结果坐过了{m}站。",
        "{who}说新的{thing}比旧的便宜{n}块钱。",
        "{day}我们把厨房打扫了一遍,找到{n}把勺子和{m}个盖子。",
        "走廊里的那台{thing}已经响了{n}天,不知道什么时候有人来修。",
        "请带{n}张椅子和{m}个盘子过来,因为{who}把大家都请来了。",
        "试了{n}次以后,{thing}终于又能用了,{who}特别高兴。",
        "{day}去{place}散步的活动还剩{n}个名额,想去的人快点报名。",
        "小猫在{thing}上睡了{n}个小时,谁也不敢动它。",
    ),
    captions=("照片里有{n}个人拿着{food}站在{place}前面。", "一只猫坐在{thing}上,看着{n}盘{food}。", "两格漫画:{who}在等{bus},{n}个小时以后还在等。"),
    titles=("九成新{thing},只用了{n}个月", "阳台{plant}{n}盆,{place}自取", "用了{n}年的旧{thing},还很好用"),
    words={
        "bus": ("公交车", "地铁", "渡轮", "机场巴士", "九号公车"),
        "place": ("菜市场", "图书馆", "游泳池", "面馆", "社区中心", "火车站", "公园", "诊所旁边", "面包店", "体育馆"),
        "who": ("邻居", "我们老师", "楼下的叔叔", "我妹妹", "新来的同事", "教练", "奶奶", "房东", "我最好的朋友", "面包师傅"),
        "kin": ("弟弟", "阿姨", "爸爸", "表哥", "妈妈", "爷爷"),
        "food": ("饺子", "炒面", "香蕉蛋糕", "肠粉", "咖喱角", "芒果干", "蛋挞", "鱼丸"),
        "plant": ("番茄", "辣椒", "九层塔", "兰花", "向日葵", "薄荷"),
        "thing": ("洗衣机", "自行车", "台灯", "风扇", "电饭锅", "书架", "缝纫机", "收音机", "沙发", "打印机"),
        "day": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期天", "公共假期"),
    },
)  # fmt: skip

MS = Voice(
    joint=" ",
    sentences=(
        "Kami menunggu {bus} selama {n} minit di {place}, kemudian {who} berjalan kaki pulang ke rumah.",
        "{Who} membeli {n} {food} di {place} dengan harga {m} ringgit pada hari {day}.",
        "Sebelum pukul {m} pagi lagi sudah ada {n} orang beratur di luar {place}.",
        "Ada sesiapa tahu sama ada {place} dibuka pada hari {day}, atau hanya selepas pukul {n}?",
        "{Kin} saya menanam {n} pokok {plant} bulan lepas dan {m} daripadanya sudah tumbuh tinggi.",
        "Hujan turun selama {n} jam, jadi {who} duduk di rumah sahaja sambil memasak {food}.",
        "Saya membaca {n} muka surat buku itu di dalam {bus} sehingga terlepas {m} hentian.",
        "{Who} kata {thing} yang baharu itu {n} ringgit lebih murah daripada yang lama.",
        "Pada hari {day} kami mengemas dapur dan terjumpa {n} batang sudu serta {m} penutup periuk.",
        "{Thing} di kaki lima itu sudah {n} hari berbunyi bising dan belum ada orang datang membaikinya.",
        "Tolong bawa {n} buah kerusi dan {m} biji pinggan kerana {who} menjemput semua orang.",
        "Selepas {n} kali mencuba, {thing} itu boleh digunakan semula dan {who} berasa sangat gembira.",
        "Masih ada {n} tempat kosong untuk berjalan-jalan di {place} pada hari {day}.",
        "Kucing itu tidur di atas {thing} selama {n} jam dan tiada siapa berani mengalihkannya.",
    ),
    captions=("Gambar {n} orang memegang {food} di hadapan {place}.", "Seekor kucing duduk di atas {thing} dan memandang {n} pinggan {food}.",
              "Dua petak kartun: {who} menunggu {bus}, dan {n} jam kemudian masih menunggu."),
    titles=("{Thing} terpakai, baru {n} bulan digunakan", "{n} pasu {plant} untuk beranda, ambil sendiri di {place}", "{Thing} lama, sudah {n} tahun, masih elok"),
    words={
        "bus": ("bas", "kereta api", "feri", "bas lapangan terbang", "bas nombor sembilan"),
        "place": ("pasar", "perpustakaan", "kolam renang", "kedai mi", "dewan komuniti", "stesen", "taman", "klinik sebelah", "kedai roti", "dewan sukan"),
        "who": ("jiran saya", "cikgu kami", "pak cik di tingkat bawah", "kakak saya", "rakan sekerja baharu", "jurulatih", "nenek", "tuan rumah",
                "kawan baik saya", "tukang roti"),
        "kin": ("adik", "mak cik", "ayah", "sepupu", "ibu", "datuk"),
        "food": ("kuih lapis", "mi goreng", "kek pisang", "popia", "karipap", "hirisan mangga", "tart telur", "bebola ikan"),
        "plant": ("tomato", "cili", "selasih", "orkid", "bunga matahari", "pudina"),
        "thing": ("mesin basuh", "basikal", "lampu meja", "kipas", "periuk nasi", "rak buku", "mesin jahit", "radio", "sofa", "mesin pencetak"),
        "day": ("Isnin", "Selasa", "Rabu", "Khamis", "Jumaat", "Sabtu", "Ahad", "kelepasan am"),
    },
)  # fmt: skip

TA = Voice(
    joint=" ",
    sentences=(
        "நாங்கள் {place} அருகே {bus} வருவதற்காக {n} நிமிடங்கள் காத்திருந்தோம், பிறகு {who} நடந்தே வீட்டுக்குப் போனார்.",
        "{who} {day} அன்று {n} {food} வாங்க {m} வெள்ளி கொடுத்தார்.",
        "காலை {m} மணிக்கு முன்பே {place} வெளியே {n} பேர் வரிசையில் நின்றார்கள்.",
        "{place} {day} அன்று திறந்திருக்குமா, அல்லது {n} மணிக்குப் பிறகுதானா என்று யாருக்காவது தெரியுமா?",
        "என் {kin} போன மாதம் {n} {plant} செடிகள் நட்டார், அதில் {m} செடிகள் நன்றாக வளர்ந்துவிட்டன.",
        "{n} மணி நேரம் மழை பெய்ததால் {who} வீட்டிலேயே இருந்து {food} செய்தார்.",
        "{bus} பயணத்தில் அந்தப் புத்தகத்தின் {n} பக்கங்களைப் படித்தேன், {m} நிறுத்தங்களைத் தவறவிட்டேன்.",
        "புதிய {thing} பழையதைவிட {n} வெள்ளி குறைவு என்று {who} சொன்னார்.",
        "{day} அன்று சமையலறையைச் சுத்தம் செய்தபோது {n} கரண்டிகளும் {m} மூடிகளும் கிடைத்தன.",
        "நடைபாதையில் இருக்கும் {thing} {n} நாட்களாகச் சத்தம் போடுகிறது, யாரும் சரிசெய்ய வரவில்லை.",
        "{who} எல்லோரையும் அழைத்திருப்பதால் {n} நாற்காலிகளும் {m} தட்டுகளும் கொண்டு வாருங்கள்.",
        "{n} முறை முயன்ற பிறகு {thing} மீண்டும் வேலை செய்கிறது, {who} மிகவும் மகிழ்ச்சியாக இருக்கிறார்.",
        "{day} அன்று {place} சுற்றி நடப்பதற்கு இன்னும் {n} இடங்கள் இருக்கின்றன.",
        "பூனை {thing} மேல் {n} மணி நேரம் தூங்கியது, யாரும் அதைத் தொடவில்லை.",
    ),
    captions=("{place} முன்னால் {n} பேர் {food} வைத்துக்கொண்டு நிற்கும் படம்.", "ஒரு பூனை {thing} மேல் உட்கார்ந்து {n} தட்டுகளைப் பார்க்கிறது.",
              "இரண்டு கட்டங்கள்: {who} காத்திருக்கிறார், {n} மணி நேரம் கழித்தும் காத்திருக்கிறார்."),
    titles=("{n} மாதங்களே பயன்படுத்திய {thing}", "மாடித் தோட்டத்துக்கு {n} {plant} செடிகள்", "{n} ஆண்டுகள் பழைய {thing}, நல்ல நிலையில்"),
    words={
        "bus": ("பேருந்து", "ரயில்", "படகு", "விமான நிலையப் பேருந்து", "ஒன்பதாம் எண் பேருந்து"),
        "place": ("சந்தை", "நூலகம்", "நீச்சல் குளம்", "உணவுக் கடை", "சமூக மன்றம்", "ரயில் நிலையம்", "பூங்கா", "மருந்தகம்", "அடுமனை", "விளையாட்டு அரங்கம்"),
        "who": ("பக்கத்து வீட்டுக்காரர்", "எங்கள் ஆசிரியர்", "கீழ் வீட்டு மாமா", "என் அக்கா", "புதிய சக ஊழியர்", "பயிற்சியாளர்", "பாட்டி", "வீட்டு உரிமையாளர்",
                "என் நெருங்கிய நண்பர்", "கடைக்காரர்"),
        "kin": ("தம்பி", "அத்தை", "அப்பா", "மைத்துனர்", "அம்மா", "தாத்தா"),
        "food": ("கொழுக்கட்டைகள்", "வடைகள்", "வாழைப்பழ அப்பங்கள்", "இட்லிகள்", "சமோசாக்கள்", "மாம்பழத் துண்டுகள்", "தோசைகள்", "முறுக்குகள்"),
        "plant": ("தக்காளி", "மிளகாய்", "துளசி", "மல்லிகை", "சூரியகாந்தி", "புதினா"),
        "thing": ("துணி துவைக்கும் இயந்திரம்", "மிதிவண்டி", "மேசை விளக்கு", "மின்விசிறி", "சோறு சமைக்கும் பாத்திரம்", "புத்தக அலமாரி", "தையல் இயந்திரம்", "வானொலி",
                  "சோபா", "அச்சு இயந்திரம்"),
        "day": ("திங்கட்கிழமை", "செவ்வாய்க்கிழமை", "புதன்கிழமை", "வியாழக்கிழமை", "வெள்ளிக்கிழமை", "சனிக்கிழமை", "ஞாயிற்றுக்கிழமை", "பொது விடுமுறை"),
    },
)  # fmt: skip

VOICES = {"en": EN, "zh": ZH, "ms": MS, "ta": TA}


def text(language: str, dice: random.Random, sentences: int) -> str:
    """So many different sentences."""
    voice = VOICES[language]
    return voice.joint.join(_fill(voice, one, dice) for one in dice.sample(voice.sentences, sentences))


def caption(language: str, dice: random.Random) -> str:
    return _fill(VOICES[language], dice.choice(VOICES[language].captions), dice)


def title(language: str, dice: random.Random) -> str:
    return _fill(VOICES[language], dice.choice(VOICES[language].titles), dice)


def _fill(voice: Voice, sentence: str, dice: random.Random) -> str:
    picked = {name: words[int(dice.random() * len(words))] for name, words in voice.words.items()}
    picked |= {name.capitalize(): word[0].upper() + word[1:] for name, word in picked.items()}
    return sentence.format(n=2 + int(dice.random() * 97), m=2 + int(dice.random() * 10), **picked)
