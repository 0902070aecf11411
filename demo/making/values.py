"""Values that nobody has seen: what tools return in generated dialogues, so that copying has to be learnt."""

from __future__ import annotations

from random import Random

_SYLLABLES = (
    "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo za bra cle dri flo gru pla ste tri sha cho an "
    "el in or us ght ck que rr nho lha ção são mé já ê ó cú âm qu zz th ph wn ly ex"
).split()
_STREETS = "Lane Street Road Square Avenue Way Hill Court Parade Row Rua Avenida Travessa Largo Praça".split()
_WORDS = (
    "free paid behind the house in front of us two hours yes no only on terrace inside "
    "welcome card cash phone and both fine within kilometres from ten to noon every day "
    "weekdays guests password is ask at counter network mark everything menu oat soy milk "
    "gluten nuts bread fresh order before after small large dogs water bowl next door "
    "garage street near minutes walk grátis pago atrás da casa em frente duas horas sim "
    "não apenas no terraço dentro cartão dinheiro todos os dias senha balcão leite aveia "
    "soja glúten nozes rua perto minutos a pé "
).split()
_MAIL_NAMES = ("hello", "info", "cafe", "contact", "oi", "contato", "reservas")


def odd_word(random: Random) -> str:
    """A word that isn't one, of one to four syllables; sometimes capitalised."""
    word = "".join(random.choice(_SYLLABLES) for _ in range(random.randint(1, 4)))
    return word.capitalize() if random.random() < 0.4 else word


def clock(random: Random) -> str:
    minute = random.randint(0, 59) if random.random() < 0.5 else random.choice((0, 15, 30, 45))
    return f"{random.randint(0, 23):02d}:{minute:02d}"


def price(random: Random) -> str:
    if random.random() < 0.7:
        return f"{random.randint(1, 39)}.{random.randint(0, 99):02d}"
    return f"{random.randint(1, 99)}.{random.choice(('00', '50'))}"


def reference(random: Random) -> str:
    """As the booking tool makes them: a letter and two to four digits, or letters and digits."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    if random.random() < 0.6:
        return f"{random.choice(letters)}{random.randint(10, 9999)}"
    return "".join(random.choice(letters + "23456789") for _ in range(random.randint(3, 7)))


def free_text(random: Random) -> str:
    odd_share = random.random()
    words = [_one_word(random, odd_share) for _ in range(random.randint(1, 14))]
    text = " ".join(words)
    if random.random() < 0.3:
        text = text.replace(" ", ", ", 1)
    return text[0].upper() + text[1:] if random.random() < 0.6 else text


def about(random: Random, topic: str) -> str:
    """What the business says of a topic."""
    if topic == "address":
        street = f"{odd_word(random).capitalize()} {random.choice(_STREETS)}"
        number = random.randint(1, 999)
        return (
            f"{number} {street}"
            if random.random() < 0.6
            else f"{street} {number}, {odd_word(random).capitalize()}"
        )
    if topic == "phone":
        return " ".join(str(random.randint(10, 9999)) for _ in range(random.randint(2, 4)))
    if topic == "email":
        return f"{random.choice(_MAIL_NAMES)}@{odd_word(random).lower()}{odd_word(random).lower()}.example"
    return free_text(random)


def _one_word(random: Random, odd_share: float) -> str:
    if random.random() < odd_share:
        return odd_word(random)
    if random.random() < 0.1:
        return str(random.randint(0, 400))
    return random.choice(_WORDS)
