"""Samples for rules/svg.yar."""

from tests.starter.samples.parts import attachment, body, file, member


def _svg(content: str, attributes: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" '
        f'width="10" height="10" {attributes}>{content}</svg>'
    ).encode()


_SCRIPT = _svg('<script type="text/ecmascript"><![CDATA[ draw(); ]]></script>')
_REDIRECT = _svg("<script><![CDATA[window.location.href = 'https://host.invalid/'+x]]></script>")
_ATOB = _svg('<rect width="9"/>', attributes='onload="eval(atob(this.id))"')
_FORM = _svg(
    '<foreignObject><form xmlns="http://www.w3.org/1999/xhtml"><input/></form></foreignObject>'
)
_FRAME = _svg("<foreignObject><iframe src='https://host.invalid/'/></foreignObject>")
_DRAWING = _svg(
    '<title>Once on = "load"</title><style>.a{fill:red}</style><path d="M0 0L5 5"/>'
    '<a href="https://www.example.org/"><text>JavaScript: the good parts</text></a>'
)
_DIAGRAM = _svg(
    '<foreignObject width="9"><div xmlns="http://www.w3.org/1999/xhtml">A <b>box</b><br/></div>'
    "</foreignObject>"
)
_PAGE = b"<html><body><svg><path d='M0 0'/></svg><script>draw()</script></body></html>"

DETECTED = {
    "Mailward.Svg.Script": [
        attachment("voicemail.svg", _SCRIPT, "image/svg+xml"),
        attachment("", _SCRIPT, "image/svg+xml"),
        attachment("picture.xml", _SCRIPT),
        attachment("picture.dat", b"<!-- a picture -->\n<!DOCTYPE svg><SVG><script/></SVG>"),
        attachment("picture.svg", _svg("<g onclick = 'go()'/>")),
        attachment("picture.svg", _svg('<a xlink:href="javascript:go()"><path d=""/></a>')),
        member("picture.svg", _SCRIPT),
        file("picture.SVG", _SCRIPT),
    ],
    "Mailward.Svg.Redirect": [
        attachment("voicemail.svg", _REDIRECT, "image/svg+xml"),
        attachment("voicemail.svg", _ATOB, "image/svg+xml"),
        member("voicemail.svg", _REDIRECT),
    ],
    "Mailward.Svg.EmbeddedPage": [
        attachment("voicemail.svg", _FORM, "image/svg+xml"),
        attachment("voicemail.svg", _FRAME, "image/svg+xml"),
    ],
}

LEFT_ALONE = {
    "Mailward.Svg.Script": [
        attachment("logo.svg", _DRAWING, "image/svg+xml"),
        attachment("diagram.svg", _DIAGRAM, "image/svg+xml"),
        attachment("page.html", _PAGE, "text/html"),
        member("src/Icon.jsx", b"const a = <svg onClick='go()'><script/></svg>"),
        attachment("notes.txt", b"An SVG may hold <script> and onload=, they say", "text/plain"),
        attachment("empty.svg", b"", "image/svg+xml"),
        body(_PAGE, "text/html"),
    ],
    "Mailward.Svg.Redirect": [
        attachment("chart.svg", _SCRIPT, "image/svg+xml"),  # runs, but goes nowhere
        attachment("logo.svg", _svg("<text>document.write( location.href = 1</text>")),
        attachment("page.html", _PAGE, "text/html"),
    ],
    "Mailward.Svg.EmbeddedPage": [
        attachment("diagram.svg", _DIAGRAM, "image/svg+xml"),
        attachment("logo.svg", _DRAWING, "image/svg+xml"),
    ],
}
