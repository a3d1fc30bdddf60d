"""The look of every page: light and dark by the reader's own choice, and black on white on paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5b6876;--line:#e0e5ea;--grid:#e9edf1;
--a:#1763c7;--b:#c2570c;--c:#0f7b6c;--d:#8a3ffc;--e:#a8324a;--f:#6b7785;--good:#0a7d43;--bad:#b3261e;--warn:#8a5a00;
--wash:#1763c71a;--washb:#c2570c1a;--warnback:#fff6e0;--badback:#fdecea;--goodback:#e8f5ee}
@media (prefers-color-scheme:dark){:root{--paper:#0e141b;--card:#161e27;--ink:#e6ecf2;--soft:#9aa8b6;--line:#2a3541;
--grid:#222c37;--a:#6aabff;--b:#ff9d5c;--c:#3fcbb5;--d:#c39bff;--e:#ff8098;--f:#90a0b0;--good:#55d38f;--bad:#ff8a80;
--warn:#f2c55c;--wash:#6aabff26;--washb:#ff9d5c26;--warnback:#2e2612;--badback:#331a1a;--goodback:#12291d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
header{margin-bottom:20px}
h1{font-size:27px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:16px;margin:0 0 2px}
p{margin:0 0 8px}.soft,figcaption{color:var(--soft);font-size:13.5px}
a{color:var(--a)}
.skip{position:absolute;left:-9999px}.skip:focus{left:12px;top:8px;background:var(--card);padding:6px 10px;z-index:9}
:focus-visible{outline:3px solid var(--a);outline-offset:2px;border-radius:6px}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}
.number{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.number b{display:block;font-size:25px;line-height:1.2;font-weight:650;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.number span{color:var(--soft);font-size:13px}
.number.bad b{color:var(--bad)}.number.good b{color:var(--good)}
.note{border-radius:12px;padding:12px 16px;margin:14px 0;border:1px solid var(--line)}
.note.warn{background:var(--warnback)}.note.bad{background:var(--badback)}.note.good{background:var(--goodback)}
.note strong{display:block}
.cards{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px 20px;min-width:0}
section.wide{grid-column:1/-1}
@media (max-width:820px){.cards{grid-template-columns:minmax(0,1fr)}}
figure{margin:10px 0 0}section.wide figure{max-width:820px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
svg text.strong{fill:var(--ink);font-weight:600}
.axis{stroke:var(--line)}.grid{stroke:var(--grid)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:8px 0 0;padding:0;font-size:13px;
color:var(--soft)}
.legend i{display:inline-block;width:18px;height:0;border-top:3px solid;margin-right:6px;vertical-align:middle}
.legend i.dashed{border-top-style:dashed}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft);font-size:13px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums;margin-top:6px}
th,td{text-align:right;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:550}th:first-child,td:first-child,table.plain td{text-align:left}
table.plain td+td{overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}tr.all td{font-weight:650}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
.hit{fill:transparent}.hit:hover{fill:var(--wash)}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#ddd;
--a:#1763c7;
--b:#c2570c;--c:#0f7b6c;--d:#8a3ffc;--e:#a8324a;--f:#6b7785;--good:#0a7d43;--bad:#b3261e;--wash:#1763c71a;
--washb:#c2570c1a;
--warnback:#fff;--badback:#fff;--goodback:#fff}
body{font-size:11pt}main{max-width:none;padding:0}section,.number,.note{break-inside:avoid}
details::details-content{content-visibility:visible;display:block}}
"""
