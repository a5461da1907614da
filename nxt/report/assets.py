"""Contains the style and the script of the page. The script draws a figure when it comes near the window.

Both follow the reader's choice of light or dark colours.
"""

STYLE = """
:root { color-scheme: light dark; --text: #1c2128; --faint: #57606a; --back: #ffffff; --line: #d5dae1; --box: #f4f6f8;
  --blue: #2a6ab0; --grid: #e6e9ee; --stage: #b9d1ec; --stem: #d9dde3; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e6eb; --faint: #9aa4b0; --back: #14181d; --line: #333b45;
  --box: #1d232a; --blue: #78b0ee; --grid: #2a313a; --stage: #2c5380; --stem: #434b56; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0 auto; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 4rem; max-width: 70rem; color: var(--text);
  background: var(--back); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.6rem; padding-top: 0.8rem; border-top: 1px solid var(--line); }
h3 { font-size: 0.95rem; margin: 0.8rem 0 0; }
p { max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--blue); }
.verdict { font-size: 1.15rem; font-weight: 600; }
.sub { color: var(--faint); margin: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.notes { color: var(--faint); font-size: 0.9rem; padding-left: 1.2rem; }
dl { margin: 1rem 0; }
dl > div { display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: 0 1rem; padding: 0.25rem 0;
  border-bottom: 1px solid var(--line); }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 0.4rem 0 1rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
figcaption { color: var(--faint); font-size: 0.9rem; }
th, td { text-align: right; padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
.text { text-align: left; }
td.text:last-child { white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
th:first-child, td:first-child { padding-left: 0; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: 0.7rem 0.9rem;
  overflow-x: auto; font-size: 0.85rem; }
details { margin: 0.35rem 0; }
summary { cursor: pointer; color: var(--blue); overflow-wrap: anywhere; }
figure { margin: 0.8rem 0; }
.plot { width: 100%; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 0.4rem 1.4rem; }
.grid > div { min-width: 0; }
.grid figure { margin: 0; }
.drawings { display: flex; flex-wrap: wrap; gap: 0.6rem 1.6rem; }
.drawings figure { margin: 0; max-width: 100%; }
.drawings figcaption { color: var(--text); max-width: 20rem; overflow-wrap: anywhere; }
svg[role=img] { max-width: 100%; height: auto; display: block; }
.stage { fill: var(--stage); } .stem { fill: var(--stem); } .block { stroke: var(--back); stroke-width: 1; }
.drawings text { fill: var(--text); font-size: 12px; } .drawings text.second { fill: var(--faint); font-size: 11px; }
@media (max-width: 36rem) { dl > div { grid-template-columns: 1fr; } body { font-size: 15px; }
  .grid { grid-template-columns: 1fr 1fr; gap: 0.4rem 0.6rem; } }
@media print { details { display: block; } }
"""

SCRIPT = """
const shade = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia('(prefers-color-scheme: dark)');
const plots = [...document.querySelectorAll('.plot')];
const narrow = innerWidth < 700;
function dressed(layout) {
  const axis = { gridcolor: shade('--grid'), zerolinecolor: shade('--line'), automargin: true };
  const hover = { bgcolor: shade('--box'), bordercolor: shade('--line'), font: { color: shade('--text') } };
  return { ...layout, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hoverlabel: hover,
    font: { color: shade('--text'), family: 'system-ui, sans-serif', size: narrow ? 11 : 12 },
    dragmode: narrow ? false : 'zoom',
    xaxis: { ...layout.xaxis, ...axis }, yaxis: { ...layout.yaxis, ...axis } };
}
function draw(place) {
  if (place.dataset.drawn) { return; }
  place.dataset.drawn = 'yes';
  const figure = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, figure.data, dressed(figure.layout), { responsive: true, displayModeBar: false });
}
const seen = new IntersectionObserver(all => all.filter(one => one.isIntersecting).forEach(one => draw(one.target)),
  { rootMargin: '50%' });
plots.forEach(place => seen.observe(place));
addEventListener('beforeprint', () => plots.forEach(draw));
dark.addEventListener('change', () => plots.filter(place => place.dataset.drawn)
  .forEach(place => Plotly.react(place, place.data, dressed(place.layout))));
function unfold() {
  const at = location.hash && document.getElementById(location.hash.slice(1));
  const folded = at && at.querySelector('details');
  if (folded) { folded.open = true; }
}
addEventListener('hashchange', unfold);
unfold();
"""
