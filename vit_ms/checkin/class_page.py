"""A class as one HTML page, which fetches nothing.

What the records say comes from strangers: on the page it is text and never markup.
"""

import base64
import hashlib
import json
from collections import Counter
from html import escape
from pathlib import Path

from vit_ms.checkin.calling import Text
from vit_ms.checkin.class_model import KINDS, MANY, STATUS, Class, Learner, visible
from vit_ms.checkin.exercises import exercises

SHOWN_GROUPS, SHOWN_VARIANTS, SHOWN_SOURCE = 300, 4, 6_000  # of equal solutions, so that the page stays small
STYLE, SCRIPT = (Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".css", ".js"))

WORDS = {
    "name": Text("Name", "姓名"),
    "group": Text("Group", "分组"),
    "status": Text("Status", "状态"),
    "days": Text("Days", "打卡天数"),
    "latest": Text("Latest", "最近打卡"),
    "solvedCount": Text("Exercises", "通过练习"),
    "accuracy": Text("Accuracy", "准确率"),
    "problems": Text("Problems", "问题"),
    "day": Text("Day", "天"),
    "time": Text("Time", "时间"),
    "file": Text("File", "文件"),
    "checkins": Text("Check-ins", "打卡"),
    "exercise": Text("Exercise", "练习"),
    "exercises": Text("Exercises", "练习"),
    "result": Text("Result", "结果"),
    "firstSolved": Text("First solved", "首次通过"),
    "attempts": Text("Attempts", "尝试次数"),
    "mistakes": Text("Mistakes", "错误"),
    "kind": Text("Kind", "类别"),
    "inFull": Text("In full", "详情"),
    "people": Text("learners", "名学员"),
    "lines": Text("lines", "行"),
    "variants": Text("more that differ in comments and formatting alone", "种写法仅注释和排版不同"),
    "notShown": Text(
        "Sources are shown for the first groups alone, so that the page stays small",
        "为控制页面大小，仅前若干组显示源码",
    ),
    "nobody": Text("No learner is like that", "没有符合条件的学员"),
    "none": Text("not tried", "未尝试"),
    "solved": Text("solved", "已通过"),
    "solvedLate": Text("solved late", "逾期通过"),
    "tried": Text("tried, not solved", "尝试过，未通过"),
}


def _both(en: str, zh: str) -> str:
    """HTML that shows one of two texts."""
    return f'<span lang="en">{escape(en)}</span><span lang="zh">{escape(zh)}</span>'


def _bdi(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"


def _html_table(heads: list[str], rows: list[list[str]]) -> str:
    """A table of HTML; its first column names the rows."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _section(title: Text, *parts: str) -> str:
    return "\n".join([f"<section>\n<h2>{_both(*title)}</h2>", *filter(None, parts), "</section>"])


def _soft(en: str, zh: str) -> str:
    return f'<p class="soft">{_both(en, zh)}</p>'


def page_of(room: Class) -> bytes:
    """The page, in UTF-8."""
    status = [room.status(learner) for learner in room.learners]
    count = Counter(key for keys in status for key in keys)
    data = json.dumps(_data(room, status), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # As text of a script element: only < could end it, and JSON has another way to write that.
    data = data.replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{_hash(SCRIPT)}'; style-src '{_hash(STYLE)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    zone = room.zone.key
    made = room.shown(room.now)
    parts = [
        f"<header>\n<h1>{_both('Class', '班级打卡')}</h1>\n"
        '<div class="controls"><button type="button" data-speak="en" lang="en-GB">English</button>'
        '<button type="button" data-speak="zh" lang="zh-CN">中文</button></div>\n</header>',
        _soft(
            f"As of {made}; all times are those of {zone}, and come from the learners' clocks",
            f"截至 {made}；时间均为 {zone} 时区，来自学员电脑的时钟",
        ),
        "<noscript><p>The table of learners needs JavaScript 学员表格需要启用 JavaScript</p></noscript>",
        _tiles(room, count),
        _learners_section(room, count),
        _schedule_section(room),
        _exercises_section(room),
        _mistakes_section(room),
        _equal_section(room),
        _problems_section(room),
        _roster_section(room),
        _refused_section(room),
        '<dialog id="dialog" aria-labelledby="who"><header><h2 id="who"></h2>'
        f'<button type="button" id="close">{_both("Close", "关闭")}</button></header><div id="detail"></div></dialog>',
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en" data-lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Class 班级打卡 – vit_ms</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + f'\n<script type="application/json" id="data">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )
    return page.encode("utf-8", errors="replace")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(room: Class, status: list[list[str]]) -> dict:
    """What the page's script draws."""
    order, known = list(exercises()), exercises()
    place = {name: number for number, name in enumerate(order)}
    late_after = [room.deadline(known[name].notebook) for name in order]
    rows = []
    for learner, keys in zip(room.learners, status, strict=True):
        solved, mistakes, latest = learner.solved(), learner.mistakes(), learner.latest
        tried = {name for name, _ in mistakes}
        marks, times, attempts = "", [], []
        for name, due in zip(order, late_after, strict=True):
            one = solved.get(name)
            late = one is not None and due is not None and one.time > due
            marks += ("2" if late else "1") if one else "3" if name in tried else "0"
            times.append(room.shown(one.time) if one else "")
            attempts.append(one.attempts if one else 0)
        rows.append(
            [
                learner.name,
                learner.group,
                keys,
                room.shown(latest.time) if latest else "",
                len(solved),
                learner.accuracy,
                [[one.kind, one.text, one.file] for one in learner.problems],
                [
                    [day, room.shown(one.time), int(day in learner.late), one.file]
                    for day, one in sorted(learner.days.items())
                ],
                marks,
                times,
                attempts,
                learner.groups,
                [[place[name], visible(code)] for name, code in sorted(mistakes)[:MANY]],
            ]
        )
    equal = [
        {
            "exercise": place[one.exercise],
            "lines": one.lines,
            "members": one.members,
            "variants": len(one.variants),
            "sources": [
                [number, visible(source, SHOWN_SOURCE)]
                for source, number in (one.variants[:SHOWN_VARIANTS] if index < SHOWN_GROUPS else [])
            ],
        }
        for index, one in enumerate(room.equal)
    ]
    return {
        "words": WORDS | STATUS,
        "kinds": KINDS,
        "grouped": any(learner.group for learner in room.learners),
        "exercises": [{"title": known[name].title} for name in order],
        "days": [{"day": day, "over": due is not None and due < room.now} for day, due in room.days().items()],
        "learners": rows,
        "equal": equal,
        "copies": room.copies,
    }


def _tiles(room: Class, count: Counter) -> str:
    tiles = [
        (Text("Learners", "学员"), len(room.learners), ""),
        (Text("Records", "记录"), room.records, ""),
        (STATUS["fine"], count["fine"], "green"),
        (STATUS["late"], count["late"], "orange"),
        (STATUS["lacking"], count["lacking"], "orange"),
        (STATUS["problem"], count["problem"], "red"),
        (STATUS["same"], count["same"], "blue"),
    ]
    if room.roster:
        tiles += [
            (STATUS["missing"], count["missing"], "grey"),
            (STATUS["extra"], count["extra"], "blue"),
        ]
    return (
        '<dl class="tiles">'
        + "".join(f'<div class="{tone}"><dt>{_both(*name)}</dt><dd>{number}</dd></div>' for name, number, tone in tiles)
        + "</dl>"
    )


def _option(value: str, text: Text) -> str:
    return (
        f'<option value="{escape(value)}" data-en="{escape(text.en)}" data-zh="{escape(text.zh)}">'
        f"{escape(text.en)}</option>"
    )


def _learners_section(room: Class, count: Counter) -> str:
    options = [_option("", Text("every status", "全部状态"))]
    options += [
        _option(key, Text(f"{text.en} ({count[key]})", f"{text.zh}（{count[key]}）"))
        for key, text in STATUS.items()
        if count[key]
    ]
    groups = sorted({learner.group for learner in room.learners if learner.group})
    select = ""
    if groups:
        choices = _option("", Text("every group", "全部分组")) + "".join(
            f'<option value="{escape(group)}">{escape(group)}</option>' for group in groups
        )
        select = f'<select id="group" aria-label="Group 分组">{choices}</select>'
    legend = {
        "days": [
            ("green", "11-21 20:00", Text("checked in", "已打卡")),
            ("orange", "11-21 20:00 !", Text("late", "迟交")),
            ("red", "–", Text("over, not checked in", "已截止，未打卡")),
            ("grey", "·", Text("none", "无")),
        ],
        "exercises": [
            ("green", "✓", WORDS["solved"]),
            ("orange", "✓!", WORDS["solvedLate"]),
            ("red", "✗", WORDS["tried"]),
            ("grey", "·", WORDS["none"]),
        ],
    }
    signs = "".join(
        f'<p class="soft legend" id="legend-{view}">'
        + "".join(f'<span class="mark {tone}">{sign} {_both(*text)}</span>' for tone, sign, text in rows)
        + "</p>"
        for view, rows in legend.items()
    )
    return _section(
        Text("Learners", "学员"),
        '<div class="controls"><input id="name" type="search" autocomplete="off" spellcheck="false">'
        f'<select id="status" aria-label="Status 状态">{"".join(options)}</select>{select}'
        f'<button type="button" data-view="days" aria-pressed="true">{_both("By day", "按天")}</button>'
        f'<button type="button" data-view="exercises" aria-pressed="false">{_both("By exercise", "按练习")}</button>'
        '<span class="soft" id="count" role="status"></span></div>',
        signs,
        '<div class="frame" id="frame" tabindex="0" role="region" aria-label="Learners 学员"><table id="learners">'
        '<colgroup id="sizes"></colgroup><thead id="head"></thead><tbody id="body"></tbody></table></div>',
        _soft(
            "A click on a column's head sorts, a click on a name shows everything of a learner. Of several records "
            "of a day the latest counts.",
            "点击表头排序，点击姓名查看该学员的全部内容。同一天有多份记录时，以最近一份为准。",
        ),
    )


def _schedule_section(room: Class) -> str:
    if not room.schedule:
        return ""
    rows = []
    notebooks = {one.notebook for one in exercises().values()}
    for due in room.schedule:
        there = [learner for learner in room.learners if due.day in learner.days]
        late = sum(due.day in learner.late for learner in there)
        lacking = len(room.learners) - len(there)
        note = "" if due.notebook in notebooks else f' <span class="soft">{_both("(no exercise)", "（无练习）")}</span>'
        over = due.time < room.now
        rows.append(
            [
                str(due.day),
                (_bdi(visible(due.notebook, 100)) if due.notebook else "–") + (note if due.notebook else ""),
                f'<span class="time">{escape(due.shown)}</span>',
                str(len(there) - late),
                str(late),
                str(lacking) if over else f'{lacking} <span class="soft">{_both("(not over)", "（未截止）")}</span>',
            ]
        )
    heads = [
        Text("Day", "天"),
        Text("Notebook", "笔记本"),
        Text("Due", "截止"),
        Text("In time", "按时"),
        Text("Late", "迟交"),
        Text("Not checked in", "未打卡"),
    ]
    return _section(
        Text("Schedule", "日程"),
        _html_table([_both(*head) for head in heads], rows),
        _soft(
            "Late is a day whose latest record is of a later time than due, and an exercise first solved after that.",
            "当天最近一份记录的时间晚于截止时间即为迟交；练习以首次通过的时间为准。",
        ),
    )


def _exercises_section(room: Class) -> str:
    known, total = exercises(), max(1, len(room.learners))
    solved, late, tried = Counter(), Counter(), Counter()
    for learner in room.learners:
        found = learner.solved()
        for name, one in found.items():
            solved[name] += 1
            due = room.deadline(known[name].notebook)
            late[name] += due is not None and one.time > due
        tried.update({name for name, _ in learner.mistakes()} - found.keys())
    rows = []
    for name in list(exercises()):
        in_time, after, failed = (100 * part / total for part in (solved[name] - late[name], late[name], tried[name]))
        bar = (
            '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="pass" width="{in_time:.2f}" height="10"/>'
            f'<rect class="late" x="{in_time:.2f}" width="{after:.2f}" height="10"/>'
            f'<rect class="tried" x="{in_time + after:.2f}" width="{failed:.2f}" height="10"/></svg>'
        )
        rows.append(
            [
                _both(*known[name].title),
                f'<span class="soft">{escape(known[name].notebook)}</span>',
                f"{solved[name]} ({100 * solved[name] / total:.0f}%)",
                str(late[name]),
                str(tried[name]),
                bar,
            ]
        )
    heads = [
        Text("Exercise", "练习"),
        Text("Notebook", "笔记本"),
        Text("Solved", "通过"),
        Text("Of them late", "其中逾期"),
        Text("Tried, not solved", "未通过"),
        Text(f"Of {len(room.learners)} learners", f"占 {len(room.learners)} 名学员"),
    ]
    legend = "".join(
        f'<span class="mark {tone}">{_both(*WORDS[key])}</span>'
        for tone, key in (("green", "solved"), ("orange", "solvedLate"), ("red", "tried"))
    )
    return _section(
        Text("Pass rate of each exercise", "各练习通过率"),
        _html_table([_both(*head) for head in heads], rows),
        f'<p class="soft legend">{legend}</p>',
    )


def _mistakes_section(room: Class) -> str:
    known = exercises()
    count = Counter(mistake for learner in room.learners for mistake in learner.mistakes())
    if not count:
        return ""
    ordered = sorted(count.items(), key=lambda item: (-item[1], item[0]))
    rows = [[_bdi(visible(code)), _both(*known[name].title), str(number)] for (name, code), number in ordered[:30]]
    heads = [Text("Mistake", "错误"), Text("Exercise", "练习"), Text("Learners", "学员数")]
    more = len(ordered) - len(rows)
    return _section(
        Text("Commonest mistakes", "最常见的错误"),
        _html_table([_both(*head) for head in heads], rows),
        _soft(f"and {more} more that are rarer", f"另有 {more} 种较少见") if more else "",
    )


def _equal_section(room: Class) -> str:
    copies = ""
    if room.copies:
        copies = f"<h3>{_both('Copied records', '复制的记录')}</h3>" + _soft(
            "The same sources at the same seconds: all but one of each line have a record of somebody else.",
            "源码与时间（精确到秒）都相同：每行中至多一人是原作者。",
        )
    told = (
        _soft(
            "The same but for comments, docstrings and formatting; long ones of few learners come first. Short "
            "exercises have few ways to be written: equal is no proof.",
            "除注释、文档字符串和排版外相同；代码长、人数少的在前。短练习的写法本来就少，相同并不等于抄袭。",
        )
        if room.equal
        else _soft("No two learners have the same solution.", "没有相同的解答。")
    )
    return _section(
        Text("Equal solutions", "相同的解答"),
        copies + '<div id="copies"></div>',
        f"<h3>{_both('Solutions', '解答')}</h3>" if room.copies else "",
        told,
        f'<div id="equal"></div>\n<button type="button" id="more" hidden>{_both("Show more", "显示更多")}</button>',
    )


def _problems_section(room: Class) -> str:
    rows = [
        [_bdi(learner.name), _both(*KINDS[one.kind]), _bdi(one.text), _bdi(one.file)]
        for learner in room.learners
        for one in learner.problems
    ]
    if not rows:
        told = _soft("None: what the records say agrees with their digests.", "没有：记录内容与摘要一致。")
        return _section(Text("Problems found by verification", "校验发现的问题"), told)
    heads = [Text("Learner", "学员"), Text("Kind", "类别"), Text("In full", "详情"), Text("File", "文件")]
    table = _html_table([_both(*head) for head in heads], rows)
    if len(rows) > MANY:
        table = f"<details><summary>{len(rows)} {_both('problems', '个问题')}</summary>\n{table}\n</details>"
    return _section(Text("Problems found by verification", "校验发现的问题"), table)


def _names(learners: list[Learner]) -> str:
    names = "".join(
        f"<li>{_bdi(one.name)}" + (f' <span class="soft">{_bdi(one.group)}</span>' if one.group else "") + "</li>"
        for one in learners
    )
    content = f'<ul class="names">{names}</ul>'
    if len(learners) > 100:
        content = f"<details><summary>{len(learners)} {_both('learners', '名学员')}</summary>\n{content}\n</details>"
    return content


def _roster_section(room: Class) -> str:
    if not room.roster:
        return ""
    missing = [learner for learner in room.learners if not learner.days]
    extra = [learner for learner in room.learners if not learner.listed]
    parts = []
    for title, learners in (
        (Text("Without any check-in", "从未打卡"), missing),
        (Text("Not on the roster", "不在名单上"), extra),
    ):
        parts.append(f"<h3>{_both(f'{title.en}: {len(learners)}', f'{title.zh}：{len(learners)}')}</h3>")
        parts.append(_names(learners) if learners else "")
    return _section(Text("Roster", "名单"), *parts)


def _refused_section(room: Class) -> str:
    if not room.refused:
        return ""
    rows = [[_bdi(file), _bdi(reason)] for file, reason in room.refused]
    table = _html_table([_both("File", "文件"), _both("Reason", "原因")], rows)
    if len(rows) > MANY:
        table = f"<details><summary>{len(rows)} {_both('files', '个文件')}</summary>\n{table}\n</details>"
    return _section(Text("Files passed over", "已跳过的文件"), table)
