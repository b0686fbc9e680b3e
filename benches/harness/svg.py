"""A small line chart: several panels beside each other, logarithmic x, two y axes from zero."""
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 300, 58, 58, 46, 48
RATE, MEMORY = "#1f6fb4", "#c4561c"


class Panel:
    """`points`: (x, rate, memory in MiB); `labels`: what is written under chosen x."""

    def __init__(self, title, x_name, rate_unit, points, label):
        self.title, self.x_name, self.rate_unit = title, x_name, rate_unit
        self.points, self.label = points, label


def chart(panels, title):
    width = WIDTH * len(panels)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT + 30}" '
             f'viewBox="0 0 {width} {HEIGHT + 30}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{HEIGHT + 30}" fill="white"/>',
             _text(width / 2, 18, title, "middle", size=14)]
    for index, panel in enumerate(panels):
        parts.append(f'<g transform="translate({index * WIDTH} 24)">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel):
    """The axes, then both lines."""
    inner, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    first, last = panel.points[0][0], panel.points[-1][0]
    span = math.log(last / first) or 1
    most_rate = _round_up(max(rate for _, rate, _ in panel.points))
    most_memory = _round_up(max(memory for _, _, memory in panel.points))

    def x(value):
        return LEFT + inner * math.log(value / first) / span

    def y(value, most):
        return TOP + high * (1 - value / most)
    parts = [_text(LEFT + inner / 2, 20, panel.title, "middle", size=12),
             _text(LEFT, 38, panel.rate_unit, "middle", RATE),
             _text(LEFT + inner, 38, "MiB", "middle", MEMORY),
             _text(LEFT + inner / 2, HEIGHT - 8, panel.x_name, "middle")]
    for quarter in range(5):
        at = TOP + high * quarter / 4
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + inner}" y1="{at:.1f}" y2="{at:.1f}" '
                     'stroke="#dddddd"/>')
        parts.append(_text(LEFT - 6, at + 4, f"{most_rate * (4 - quarter) / 4:g}", "end", RATE))
        parts.append(_text(LEFT + inner + 6, at + 4, f"{most_memory * (4 - quarter) / 4:g}",
                           "start", MEMORY))
    for value, _, _ in panel.points:
        parts.append(_text(x(value), HEIGHT - BOTTOM + 16, panel.label(value), "middle", size=9))
    for color, most, column in ((RATE, most_rate, 1), (MEMORY, most_memory, 2)):
        places = [(x(point[0]), y(point[column], most)) for point in panel.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{color}"/>'
                  for px, py in places]
    return parts


def _round_up(value):
    """The next number of the form 1, 2, 4, 6, 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def _text(x, y, text, anchor, color="#333333", size=11):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
            f'font-size="{size}">{html.escape(str(text))}</text>')
