"""How the page looks (light, dark and printed) and the little script that sorts and zooms.

The colour classes differ in lightness as well as in hue (blue, green, yellow, orange, purple), so that they can be
told apart without seeing red and green as two colours; worse seams are drawn thicker, too.
"""

from __future__ import annotations

from demis_ij.display.colours import GRADE_COLOURS

_GRADES = "".join(
    f"i.g{n},.bar .g{n}{{background:{c}}} line.g{n},path.g{n}{{stroke:{c}}} circle.g{n}{{fill:{c}}}\n"
    for n, c in enumerate(GRADE_COLOURS)
)
_WIDTHS = "".join(
    f".seams .g{n}{{fill:none;stroke-width:calc({w}px*var(--w,1))}}\n" for n, w in enumerate((3, 3, 4, 5.5, 7))
)
_SWITCHES = "".join(
    f".map .on-{key}:not(:checked)~svg {shown}{{display:none}}\n"
    for key, shown in (
        ("mosaic", "image"),
        ("tiles", ".tiles"),
        ("moves", ".moves"),
        ("seams", ".seams"),
        ("lost", ".lost"),
    )
)

CSS = (
    """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#5a6572;--line:#d5dae0;--panel:#f5f7f9;--link:#0b5cad;
--good:#0b6e4f;--check:#8a5a00;--bad:#a3195b;--plate:#e9ecef}
@media(prefers-color-scheme:dark){:root{--page:#14171b;--ink:#e6e9ed;--soft:#a3adb8;--line:#353c45;--panel:#1d2228;
--link:#7ab8ff;--good:#5fd3ac;--check:#f2c14e;--bad:#ff7fb6;--plate:#23282f}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:1.2rem 1.4rem 4rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.55rem;line-height:1.2;margin:.2rem 0 .1rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.6rem 0 .4rem} h4{font-size:.95rem;margin:0 0 .4rem;overflow-wrap:anywhere}
p{margin:.3rem 0} a{color:var(--link)} .note,figcaption,.source{color:var(--soft);font-size:.87rem}
.source{overflow-wrap:anywhere}
figure{margin:0}
.verdict{border:1px solid var(--line);border-left:8px solid var(--tone);background:var(--panel);padding:.7rem 1rem;
margin:1rem 0;border-radius:4px}
.verdict.good{--tone:var(--good)} .verdict.check{--tone:var(--check)} .verdict.bad{--tone:var(--bad)}
.verdict strong{color:var(--tone)} .verdict .said{font-size:1.12rem}
.verdict ul{margin:.4rem 0 0;padding-left:1.2rem;color:var(--soft);font-size:.92rem}
.cards{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}
.card{border:1px solid var(--line);border-radius:4px;padding:.45rem .8rem;min-width:7.4rem;flex:1}
.card b{display:block;font-size:1.22rem;font-weight:600;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.84rem}
nav{font-size:.92rem} nav a{margin-right:1rem}
.warnings{border-left:4px solid var(--check);padding:.2rem 0 .2rem 1.8rem;margin:.4rem 0;overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:30rem;border:1px solid var(--line);border-radius:4px}
.scroll.whole{max-height:none}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.28rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{position:sticky;top:0;background:var(--panel);font-weight:600;z-index:1}
tbody th{font-weight:500}
tbody tr:last-child>*{border-bottom:0}
tr:hover td{background:var(--panel)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th.n{text-align:right;white-space:normal}
.n .bar{min-width:9rem}
.id{overflow-wrap:anywhere;min-width:8.5rem;white-space:pre-wrap}
.notes{overflow-wrap:anywhere;min-width:9rem;max-width:26rem} td.alone{color:var(--check);font-weight:600}
.tried{margin:0;padding-left:1rem}
.sortable thead th{cursor:pointer}
th[aria-sort=ascending]::after{content:" \\2191"} th[aria-sort=descending]::after{content:" \\2193"}
.legend{display:inline-flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.87rem;margin:.3rem 0}
.key{white-space:nowrap;margin-right:.6rem}
.swatch{display:inline-block;width:.85em;height:.85em;border-radius:2px;margin-right:.4em;vertical-align:-.06em;
border:1px solid rgba(0,0,0,.35)}
.swatch.dash{background:repeating-linear-gradient(90deg,#fff 0 4px,#222 4px 7px)}
.swatch.hatch{background:repeating-linear-gradient(45deg,#fff 0 2px,#c77700 2px 5px)}
.bar{display:flex;height:1.5rem;border-radius:3px;overflow:hidden;font-size:.82rem;font-weight:600;color:#14171b}
.bar span{flex:1 1 auto;text-align:center;min-width:1.5rem;line-height:1.5rem}
.map,.overlay{position:relative} .map{margin-top:1rem}
.map>svg{display:block;width:100%;max-height:88vh;background:var(--plate);border-radius:4px;margin-top:.4rem}
.map input,.overlay input{position:absolute;opacity:0;pointer-events:none}
.map label,.overlay label,.zoom button{display:inline-block;padding:.1rem .65rem;margin:0 .3rem .3rem 0;cursor:pointer;
border:1px solid var(--line);border-radius:99px;font:inherit;font-size:.84rem;background:transparent;color:var(--soft)}
.map input:checked+label,.overlay input:checked+label{background:var(--ink);color:var(--page);border-color:var(--ink)}
input:focus-visible+label,a:focus-visible,button:focus-visible,.scroll:focus-visible{outline:3px solid var(--link);
outline-offset:1px}
.map line,.map polygon,.map path{vector-effect:non-scaling-stroke}
.tiles polygon,.tiles path{fill:transparent;stroke:#fff;stroke-opacity:.75;stroke-width:calc(1px*var(--w,1))}
.tiles polygon.alone{fill:url(#hatch);stroke:#ffb52e;stroke-opacity:1;stroke-width:2px}
.tiles polygon.other{stroke:#7fd6ff;stroke-opacity:1;stroke-dasharray:7 4;stroke-width:1.6px}
.tiles polygon:hover{fill:rgba(255,255,255,.14)}
.tiles text{fill:#fff;stroke:#000;stroke-width:3px;paint-order:stroke;text-anchor:middle;
font-weight:600;pointer-events:none}
.moves path{fill:none;stroke:#fff;stroke-width:calc(1.8px*var(--w,1));
filter:drop-shadow(0 0 1.2px #000) drop-shadow(0 0 .6px #000)}
.seams line,.lost line{stroke-linecap:round}
.seams .under,.lost .under{stroke:#000;stroke-opacity:.65;stroke-width:calc(8px*var(--w,1))}
.crowded .under{display:none}
.seams line.overruled{stroke-dasharray:2 8}
.lost .under{stroke-width:calc(5px*var(--w,1));stroke-opacity:.8}
.lost .dashed{stroke:#fff;stroke-width:calc(2.4px*var(--w,1));stroke-dasharray:5 6}
.seams g:hover .under,.lost g:hover .under{stroke:#fff;stroke-opacity:1;stroke-width:11px}
.letter circle{fill:#fff;stroke:#000;stroke-width:1.5} .letter text{fill:#000;font-size:14px;font-weight:700;
text-anchor:middle;text-decoration:none}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,33rem),1fr));gap:1rem;align-items:start;
margin:.5rem 0 1rem}
.pair{border:1px solid var(--line);border-radius:4px;padding:.7rem .8rem;break-inside:avoid}
.pair:target{outline:3px solid var(--link)}
.pair .views{display:flex;flex-wrap:wrap;gap:.8rem;align-items:flex-start}
.pair .overlay{flex:1 1 15rem} .pair figure{flex:1 1 12rem}
.pair .wide .overlay,.pair .wide figure{flex:1 1 100%}
.overlay svg{display:block;width:100%;background:#000;isolation:isolate;border-radius:3px}
.overlay .fixed{filter:url(#only-red)} .overlay .moving{filter:url(#only-cyan);mix-blend-mode:screen}
.overlay .as-checker:checked~svg image,.overlay .as-blink:checked~svg image,.overlay .as-first:checked~svg image,
.overlay .as-second:checked~svg image{filter:none;mix-blend-mode:normal}
.overlay .as-checker:checked~svg .moving{mask:url(#checker)}
.overlay .as-blink:checked~svg .moving{animation:blink 1.2s steps(1,end) infinite}
.overlay .as-first:checked~svg .moving{display:none}
@keyframes blink{0%{opacity:1}50%{opacity:0}}
.matches{width:100%;background:#20242a;max-height:26rem;border-radius:3px}
.matches line{stroke-width:1;stroke-opacity:.8}
.matches circle{stroke:#000;stroke-width:.4}
summary{cursor:pointer;margin:1.2rem 0 .4rem;font-weight:600}
.defs{position:absolute;width:0;height:0}
@media print{:root{--page:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#f4f4f4;--link:#000;--good:#0b6e4f;
--check:#8a5a00;--bad:#a3195b;--plate:#e9ecef}
body{max-width:none;padding:0;font-size:10.5pt}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible;max-height:none;border:0}thead th{position:static}tr,.card,.verdict{break-inside:avoid}
nav,.zoom,.map input:not(:checked)+label,.overlay label{display:none}.map>svg{max-height:20cm}
tbody tr:nth-child(n+41){display:none}}
"""
    + _GRADES
    + _WIDTHS
    + _SWITCHES
)

DEFINITIONS = """<svg class="defs" aria-hidden="true"><defs>
<filter id="only-red" color-interpolation-filters="sRGB">
<feColorMatrix values="1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0"/></filter>
<filter id="only-cyan" color-interpolation-filters="sRGB">
<feColorMatrix values="0 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 0 1 0"/></filter>
<pattern id="squares" width="64" height="64" patternUnits="userSpaceOnUse">
<path fill="#fff" d="M0 0h32v32H0zM32 32h32v32H32z"/></pattern>
<mask id="checker" maskUnits="userSpaceOnUse" x="0" y="0" width="4096" height="4096">
<rect width="4096" height="4096" fill="url(#squares)"/></mask>
<pattern id="hatch" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<path d="M0 0h2v9H0z" fill="#ffb52e" fill-opacity=".4"/></pattern>
</defs></svg>"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const key = row => {
        const c = row.cells[column];
        return "v" in c.dataset ? Number(c.dataset.v) : c.textContent;
      };
      const rows = [...body.rows].sort((p, q) => {
        const a = key(p), b = key(q);
        const order = typeof a === "number" && typeof b === "number"
          ? (a === b ? 0 : a < b ? -1 : 1) : String(a).localeCompare(String(b), undefined, {numeric: true});
        return up ? order : -order;
      });
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(); } });
  });
}
for (const map of document.querySelectorAll(".map")) {
  const svg = map.querySelector("svg"), whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let box = [...whole], held = null;
  const show = () => svg.setAttribute("viewBox", box.join(" "));
  const zoom = (factor, fx, fy) => {
    const w = Math.min(whole[2], Math.max(whole[2] / 60, box[2] * factor)), h = w * whole[3] / whole[2];
    box = [box[0] + (box[2] - w) * fx, box[1] + (box[3] - h) * fy, w, h];
    if (w === whole[2]) box = [...whole];
    show();
  };
  map.querySelector(".zoom").hidden = false;
  for (const button of map.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) zoom(factor, .5, .5); else { box = [...whole]; show(); }
    });
  svg.addEventListener("wheel", e => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
    zoom(e.deltaY > 0 ? 1.25 : .8, (p.x - box[0]) / box[2], (p.y - box[1]) / box[3]);
  }, {passive: false});
  svg.addEventListener("pointerdown", e => {
    if (box[2] >= whole[2] || e.target.closest("a")) return;
    held = [e.clientX, e.clientY, ...box];
    svg.setPointerCapture(e.pointerId);
  });
  svg.addEventListener("pointermove", e => {
    if (!held) return;
    const unit = 1 / svg.getScreenCTM().a;
    box = [held[2] - (e.clientX - held[0]) * unit, held[3] - (e.clientY - held[1]) * unit, box[2], box[3]];
    show();
  });
  svg.addEventListener("pointerup", () => { held = null; });
}
"""
