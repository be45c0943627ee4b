"""How pages look: one style sheet, light or dark as the reader's machine is, and no script."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #16191d; --soft: #5b6470; --line: #dfe3e8;
  --accent: #2563eb; --warn-paper: #fff4d6; --warn-ink: #6b4700; --bad: #b42318;
  --lost: #c9ced6; --mat: #e6e9ed;
  --shadow: 0 1px 2px rgb(16 24 40 / .06), 0 4px 14px rgb(16 24 40 / .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1216; --card: #181c22; --ink: #e8ebef; --soft: #98a2af; --line: #2a3038;
    --accent: #7aa7ff; --warn-paper: #33280c; --warn-ink: #f5d48a; --bad: #ff8a80;
    --lost: #474d56; --mat: #0b0d10;
    --shadow: 0 1px 2px rgb(0 0 0 / .4), 0 4px 14px rgb(0 0 0 / .3);
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1480px; margin: 0 auto; padding: 28px clamp(14px, 3vw, 40px) 64px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 4px; }
h2 { font-size: 21px; letter-spacing: -.01em; margin: 44px 0 2px; }
h3 { font-size: 14px; font-weight: 600; margin: 0; }
h1, h2, h3, p, td, li { overflow-wrap: anywhere; }
p { margin: 6px 0; }
code { font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.soft { color: var(--soft); }
.warning {
  background: var(--warn-paper); color: var(--warn-ink); border-radius: 10px;
  padding: 10px 14px; margin: 14px 0; max-width: 90ch;
}
.totals { display: flex; flex-wrap: wrap; gap: 8px; margin: 14px 0; padding: 0; }
.totals div {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 6px 14px; min-width: 84px;
}
.totals dt { color: var(--soft); font-size: 12px; }
.totals dd { margin: 0; font-size: 17px; font-weight: 600; }
.switch {
  position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; align-items: center;
  gap: 4px 14px; margin: 14px 0 0; padding: 10px 0;
  background: color-mix(in srgb, var(--paper) 88%, transparent); backdrop-filter: blur(6px);
}
.switch label { display: flex; align-items: center; gap: 8px; cursor: pointer; }
.switch input { width: 17px; height: 17px; accent-color: var(--accent); margin: 0; }
.units {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
  grid-auto-flow: dense; gap: 18px; margin-top: 12px;
}
.unit {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  box-shadow: var(--shadow); overflow: hidden; min-width: 0;
}
.clip { grid-column: 1 / -1; }
.about { padding: 10px 14px 13px; font-size: 13px; }
.strip { display: flex; gap: 3px; overflow-x: auto; scrollbar-width: thin; }
.strip figure { flex: 1 0 min(200px, 46vw); max-width: 340px; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: 12px; padding: 4px 8px 2px; }
.layers { position: relative; display: block; background: var(--mat); overflow: hidden; }
.layers img { display: block; width: 100%; height: auto; }
.unit:not(.clip) .layers { aspect-ratio: 4 / 3; }
.unit:not(.clip) img { height: 100%; object-fit: contain; }
.lost .found { background: var(--lost); }
.layers .seen { position: absolute; inset: 0; height: 100%; }
.layers .found { position: relative; transition: opacity .12s; }
.layers:focus-visible { outline: 3px solid var(--accent); outline-offset: -3px; }
.tiny img { image-rendering: pixelated; }
.layers:is(:hover, :focus) .found { opacity: 0; }
body:has(#hide:checked) .found { opacity: 0; }
body:has(#hide:checked) .layers:is(:hover, :focus) .found { opacity: 1; }
.lost:is(:hover, :focus) .found { opacity: 1; }
.chips {
  display: flex; flex-wrap: wrap; gap: 4px 6px; list-style: none; margin: 7px 0 0; padding: 0;
}
.chips li {
  display: flex; align-items: center; gap: 6px; font-size: 12px; max-width: 100%;
  border: 1px solid var(--line); border-radius: 99px; padding: 1px 9px 1px 7px;
}
.chips i {
  flex: none; width: 10px; height: 10px; border-radius: 50%;
  box-shadow: 0 0 0 1px rgb(0 0 0 / .25);
}
.gone { color: var(--bad); }
.units + .gone { margin-top: 26px; }
.failures { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; background: var(--card); font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: 7px 12px; border: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td.class { white-space: nowrap; color: var(--bad); font-weight: 600; }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media print { .switch { display: none; } .unit { break-inside: avoid; } }
"""
