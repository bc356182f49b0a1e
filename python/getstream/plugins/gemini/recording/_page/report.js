"use strict";
// Draws and plays a recorded call. Everything comes from the two data elements of the page; texts of
// people and models go into text nodes and canvases only.

const $ = (id) => document.getElementById(id);
const call = JSON.parse($("data").textContent);
const end = Math.max(call.seconds, 0.001);
const sideOf = (turn) => (turn.who === "person" ? 0 : 1);

function decode(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function make(tag, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function clock(seconds) {
  const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const ms = (value) => (Number.isFinite(value) ? `${Math.round(value)} ms` : "–");

// --- words and numbers ---

$("about").textContent = [clock(call.seconds), call.recordedAt, call.versions].filter(Boolean).join(" · ");
document.title = `A call with Gemini Live, ${call.recordedAt}`;
for (const doubt of call.doubts) $("notices").append(make("p", `Do not trust the times: ${doubt}.`));
for (const note of call.notes) $("notices").append(make("p", note));
$("notices").hidden = !$("notices").childElementCount;

for (const [name, value, remark] of call.tiles) {
  const tile = make("div"), figure = make("dd", value);
  figure.append(" ", make("small", remark));
  tile.append(make("dt", name), figure);
  $("tiles").append(tile);
}

// What was not heard: the rest behind what was, or all of it where the two do not fit together.
function parts(turn) {
  if (!turn.played) return ["", turn.text];
  return turn.text.startsWith(turn.heard) ? [turn.heard, turn.text.slice(turn.heard.length)] : [turn.heard, ` ${turn.text}`];
}

const items = call.turns.map((turn) => {
  const item = make("li", "", sideOf(turn) ? "bot" : "you"), button = make("button"), who = make("span", "", "who");
  const name = sideOf(turn) ? "assistant" : turn.name || "person";
  who.append(make("span", `${name} · ${clock(turn.start)}`));
  if (turn.delay) who.append(make("b", `after ${ms(turn.delay.total_ms)}`));
  if (turn.cut && turn.played) who.append(make("b", turn.silent_after_ms === null ? `interrupted by ${turn.cause || "?"}` : `interrupted, silent after ${ms(turn.silent_after_ms)}`, "cut"));
  if (!turn.played) who.append(make("b", "not heard", "cut"));
  if (turn.reason) who.append(make("b", turn.reason, "cut"));
  const words = make("span", "", "words"), [heard, unheard] = parts(turn);
  words.append(heard || (unheard ? "" : "(no transcript)"));
  if (unheard) {
    const rest = make("s", unheard);
    rest.setAttribute("aria-label", `not heard: ${unheard}`);
    words.append(rest);
  }
  button.append(who, words);
  button.addEventListener("click", () => { seek(turn.start); play(); });
  item.append(button);
  $("turns").append(item);
  return button;
});

const answers = call.turns.filter((turn) => turn.delay);
const longest = Math.max(1, ...answers.map((turn) => turn.delay.total_ms));
for (const turn of answers) {
  const { total_ms: total, service_ms: service, silent_start_ms: quiet, rest_ms: rest } = turn.delay;
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  let at = 0;
  for (const [colour, width] of [["--soft", Math.max(0, service ?? total - quiet)], ["--bot", Math.max(0, rest ?? 0)], ["--quiet", quiet]]) {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: `${(100 * at) / longest}%`, width: `${(100 * width) / longest}%`, height: 14 })) box.setAttribute(name, value);
    box.style.fill = `var(${colour})`;
    picture.append(box);
    at += width;
  }
  picture.setAttribute("aria-hidden", "true");
  const item = make("li");
  item.append(make("span", clock(turn.start)), picture, make("span", ms(total)), make("small", `service ${ms(service ?? NaN)}, this package ${ms(rest ?? NaN)}, silent start ${ms(quiet)}`));
  $("delays").append(item);
}
if (!answers.length) $("delays").append(make("li", "No answer was heard."));

const STAGES = { duck: "lowered", pause: "paused", offline: "no connection" };
const happened = [
  ...call.tools.map((tool) => [tool.start, `tool ${tool.name}, ${tool.end === null ? "no answer" : `answered after ${ms(1000 * (tool.end - tool.start))}`}`, `${tool.arguments} → ${tool.result}`]),
  ...call.spans.map((span) => [span.start, `${STAGES[span.kind]} for ${ms(1000 * (span.end - span.start))}`, span.text]),
  ...call.marks.map((mark) => [mark.at, mark.text, ""]),
].sort((a, b) => a[0] - b[0]);
for (const [at, text, more] of happened) {
  const item = make("li");
  item.append(make("time", clock(at)), text);
  if (more) item.append(make("code", more));
  $("events").append(item);
}
if (!happened.length) $("events").append(make("li", "Nothing of the kind."));

for (const [name, value] of call.numbers) {
  const row = make("tr"), head = make("th", name);
  head.scope = "row";
  row.append(head, make("td", value));
  $("numbers").tBodies[0].append(row);
}
$("config").textContent = call.config;

// --- peaks, also of 80, 640 and 5120 ms: what is drawn costs the same for a second and for hours ---

const FACTOR = 8;
function coarser(fine) {
  const count = Math.ceil(fine.length / 4 / FACTOR), result = new Int8Array(4 * count);
  for (let i = 0; i < fine.length; i += 4) {
    const to = 4 * Math.floor(i / 4 / FACTOR);
    for (const side of [0, 2]) {
      result[to + side] = Math.min(result[to + side], fine[i + side]);
      result[to + side + 1] = Math.max(result[to + side + 1], fine[i + side + 1]);
    }
  }
  return result;
}
const levels = [new Int8Array(decode(call.peaks).buffer)]; // [step][side][lowest, highest]
while (levels.length < 4) levels.push(coarser(levels.at(-1)));

let stepsRead = 0; // of the last picture, for the tests
function waves(pen, from, to, width, centres, size) {
  let level = 0, rate = call.stepsPerSecond;
  while (level + 1 < levels.length && ((to - from) * rate) / width > 2 * FACTOR) { level++; rate /= FACTOR; }
  const peaks = levels[level];
  for (const side of [0, 1]) {
    pen.fillStyle = side ? colours.bot : colours.you;
    for (let x = 0; x < width; x++) {
      const first = Math.floor((from + ((to - from) * x) / width) * rate);
      const stop = Math.max(first + 1, Math.floor((from + ((to - from) * (x + 1)) / width) * rate));
      let low = 0, high = 0;
      for (let i = Math.max(0, first); i < stop && 4 * i + 3 < peaks.length; i++) {
        low = Math.min(low, peaks[4 * i + 2 * side]);
        high = Math.max(high, peaks[4 * i + 2 * side + 1]);
        stepsRead++;
      }
      const up = Math.sqrt(high / 128) * size, down = Math.sqrt(-low / 128) * size;
      pen.fillRect(x, centres[side] - up, 1, Math.max(0.7, up + down));
    }
  }
}

// --- pictures ---

const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "line", "bg", "you", "bot", "wait", "cut", "duck", "pause", "tool"]) colours[name] = style.getPropertyValue(`--${name}`);
  overview = null;
  redraw();
}

function prepare(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}

let overview = null; // the whole call, drawn once for each size and colour
function drawOverview() {
  const canvas = $("overview"), [pen, width, height] = prepare(canvas), x = (t) => (t / end) * width;
  if (!width) return;
  if (!overview || overview.width !== canvas.width || overview.height !== canvas.height) {
    overview = document.createElement("canvas");
    overview.width = canvas.width;
    overview.height = canvas.height;
    const back = overview.getContext("2d");
    back.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    waves(back, 0, end, width, [height * 0.27, height * 0.73], height * 0.22);
    back.fillStyle = colours.cut;
    for (const span of call.spans) if (span.kind === "offline") back.fillRect(x(span.start), height / 2 - 1.5, Math.max(2, x(span.end - span.start)), 3);
    for (const turn of call.turns) if (turn.cut && turn.played) back.fillRect(x(turn.end) - 0.5, height * 0.55, 1, height * 0.4);
  }
  pen.fillStyle = colours.wait;
  pen.fillRect(x(view), 0, Math.max(2, x(span())), height);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(overview, 0, 0);
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.fillStyle = colours.ink;
  pen.fillRect(x(now) - 1, 0, 2, height);
}

function drawZoom() {
  const [pen, width, height] = prepare($("zoom"));
  if (!width) return;
  const length = span(), x = (t) => ((t - view) / length) * width, bottom = height - 18;
  const centres = [bottom * 0.26, bottom * 0.66], size = bottom * 0.155, middle = (centres[0] + centres[1]) / 2;
  const seen = (from, to) => to >= view && from <= view + length;
  pen.font = "12px system-ui, sans-serif";
  drawAxis(pen, x, width, height, length);
  for (const each of call.spans) {
    if (!seen(each.start, each.end)) continue;
    const offline = each.kind === "offline";
    pen.fillStyle = offline ? colours.cut : colours[each.kind];
    pen.globalAlpha = offline ? 0.18 : 1;
    const top = offline ? 0 : centres[1] - size - 4;
    pen.fillRect(x(each.start), top, Math.max(1, x(each.end) - x(each.start)), offline ? bottom : 2 * size + 8);
    pen.globalAlpha = 1;
    if (offline) { pen.fillStyle = colours.cut; write(pen, `no connection ${each.text}`, x(each.start) + 4, bottom - 4, width); }
  }
  for (const turn of call.turns) if (turn.played && seen(turn.start - (turn.delay ? turn.delay.total_ms / 1000 : 0), turn.end + 4)) drawTurn(pen, turn, x, centres, size);
  waves(pen, view, view + length, width, centres, size);
  drawWords(pen, x, width, centres, size);
  pen.fillStyle = colours.tool;
  for (const tool of call.tools) {
    const stop = tool.end ?? end;
    if (!seen(tool.start, stop)) continue;
    pen.fillRect(x(tool.start), middle - 5, Math.max(3, x(stop) - x(tool.start)), 3);
    write(pen, tool.name, x(tool.start), middle - 8, width);
  }
  pen.fillStyle = colours.ink;
  pen.fillRect(x(now) - 1, 0, 2, bottom);
}

function write(pen, text, x, y, width) { // as far left as it must be to be read whole
  pen.fillText(text, Math.max(4, Math.min(x, width - pen.measureText(text).width - 4)), y);
}

function drawAxis(pen, x, width, height, length) {
  const step = [0.5, 1, 2, 5, 10, 30, 60, 120].find((each) => (each / length) * width > 60) ?? 300;
  for (let t = Math.ceil(view / step) * step; t <= view + length; t += step) {
    pen.fillStyle = colours.line;
    pen.fillRect(x(t), 0, 1, height - 16);
    pen.fillStyle = colours.soft;
    if (x(t) + 50 < width) pen.fillText(clock(t), x(t) + 3, height - 3);
  }
}

function drawTurn(pen, turn, x, centres, size) {
  const side = sideOf(turn), above = centres[1] - size - 4;
  pen.fillStyle = side ? colours.bot : colours.you;
  pen.globalAlpha = 0.12;
  pen.fillRect(x(turn.start), centres[side] - size, x(turn.end) - x(turn.start), 2 * size);
  pen.globalAlpha = 1;
  if (turn.delay) {
    const asked = turn.start - turn.delay.total_ms / 1000;
    pen.fillStyle = colours.wait;
    pen.fillRect(x(asked), centres[0] - size, x(turn.start) - x(asked), centres[1] - centres[0] + 2 * size);
    pen.fillStyle = colours.ink;
    pen.fillText(ms(turn.delay.total_ms), x(turn.start) + 4, above);
  }
  if (turn.cut) {
    pen.fillStyle = colours.cut;
    pen.fillRect(x(turn.end) - 1, centres[1] - size - 6, 2, 2 * size + 12);
    pen.fillText(turn.silent_after_ms === null ? "interrupted" : `silent after ${ms(turn.silent_after_ms)}`, x(turn.end) + 5, above);
  }
}

// Each turn's words have the room until the next turn of its side.
function drawWords(pen, x, width, centres, size) {
  const following = [Infinity, Infinity];
  for (let i = call.turns.length - 1; i >= 0; i--) {
    const turn = call.turns[i], side = sideOf(turn), until = following[side];
    following[side] = turn.start;
    const left = Math.max(4, x(turn.start)), right = Math.min(width, x(Math.min(until, turn.end + 3)) - 6);
    if (right - left < 30 || x(turn.end) < -width) continue;
    const y = side ? centres[1] + size + 15 : 13, [heard, unheard] = parts(turn);
    pen.save();
    pen.beginPath();
    pen.rect(left, y - 13, right - left, 18);
    pen.clip();
    pen.fillStyle = colours.ink;
    pen.fillText(heard.slice(0, 300), left, y);
    if (unheard) {
      const start = left + pen.measureText(heard.slice(0, 300)).width, text = unheard.slice(0, 300);
      pen.fillStyle = colours.soft;
      pen.fillText(text, start, y);
      pen.fillRect(start, y - 4.5, pen.measureText(text).width, 1);
    }
    pen.restore();
  }
}

if (innerWidth < 600) $("window").value = "4";
let view = 0, now = 0, marked = -1;
let printing = false; // paper shows the whole call
const span = () => (printing ? end : Math.min(+$("window").value, end));

function redraw() {
  stepsRead = 0;
  drawOverview();
  drawZoom();
  $("clock").textContent = `${clock(now)} of ${clock(call.seconds)}`;
  const slider = $("overview");
  slider.setAttribute("aria-valuemax", call.seconds.toFixed(1));
  slider.setAttribute("aria-valuenow", now.toFixed(1));
  slider.setAttribute("aria-valuetext", clock(now));
  const at = current();
  if (at === marked) return;
  items[marked]?.removeAttribute("aria-current");
  items[at]?.setAttribute("aria-current", "true");
  marked = at;
}

function current() { // the last turn that has begun
  let low = 0, high = call.turns.length;
  while (low < high) { const middle = (low + high) >> 1; if (call.turns[middle].start <= now + 0.01) low = middle + 1; else high = middle; }
  return low - 1;
}

// --- playing ---

let audio = null, graph = null;
function sound() { // decoded when it is first played: an hour is 29 MB
  if (audio || !$("audio").textContent) return audio;
  audio = new Audio(URL.createObjectURL(new Blob([decode($("audio").textContent)], { type: "audio/mp4" })));
  $("audio").textContent = "";
  audio.playbackRate = +$("speed").value;
  audio.currentTime = now;
  audio.addEventListener("play", () => { $("play").textContent = "Pause"; requestAnimationFrame(tick); });
  for (const name of ["pause", "ended"]) audio.addEventListener(name, () => { $("play").textContent = "Play"; redraw(); });
  return audio;
}
$("play").disabled = !$("audio").textContent;

function listen() { // to one side in both ears; until somebody asks for that, the audio is left as it is
  const side = $("side").value;
  if (!graph && side !== "both" && sound()) {
    const context = new AudioContext(), split = context.createChannelSplitter(2), gains = [context.createGain(), context.createGain()];
    context.createMediaElementSource(audio).connect(split);
    gains.forEach((gain, index) => { split.connect(gain, index); gain.connect(context.destination); });
    graph = { context, gains };
  }
  if (!graph) return;
  graph.context.resume();
  graph.gains.forEach((gain, index) => { gain.gain.value = side === "both" || +side === index ? 1 : 0; });
}

function play() { if (sound()) { listen(); audio.play(); } }
function toggle() { if (audio && !audio.paused) audio.pause(); else play(); }
function look(from) { view = Math.max(0, Math.min(from, end - span())); }
function follow() { if (now < view || now > view + 0.85 * span()) look(now - 0.15 * span()); }
function seek(t) {
  now = Math.max(0, Math.min(t, end - 0.01));
  if (audio) audio.currentTime = now;
  follow();
  redraw();
}
function tick() {
  now = Math.min(audio.currentTime, end);
  follow();
  redraw();
  if (!audio.paused) requestAnimationFrame(tick);
}
function turnBy(step) {
  if (call.turns.length) seek(call.turns[Math.max(0, Math.min(call.turns.length - 1, current() + step))].start);
}
function zoomBy(step) {
  const select = $("window");
  select.selectedIndex = Math.max(0, Math.min(select.options.length - 1, select.selectedIndex + step));
  look(now - 0.3 * span());
  redraw();
}

$("play").addEventListener("click", toggle);
$("previous").addEventListener("click", () => turnBy(-1));
$("next").addEventListener("click", () => turnBy(1));
$("side").addEventListener("change", listen);
$("speed").addEventListener("change", () => { if (audio) audio.playbackRate = +$("speed").value; });
$("window").addEventListener("change", () => zoomBy(0));

for (const [id, timeAt] of [["overview", (fraction) => fraction * end], ["zoom", (fraction) => view + fraction * span()]]) {
  const canvas = $(id), move = (event) => { if (event.buttons) seek(timeAt(event.offsetX / canvas.clientWidth)); };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); move(event); });
  canvas.addEventListener("pointermove", move);
}
$("zoom").addEventListener("wheel", (event) => {
  const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
  if (!sideways) return;
  event.preventDefault();
  look(view + (sideways / $("zoom").clientWidth) * span());
  redraw();
}, { passive: false });

const KEYS = {
  ArrowLeft: () => seek(now - 1),
  ArrowRight: () => seek(now + 1),
  ArrowUp: () => turnBy(-1),
  ArrowDown: () => turnBy(1),
  Home: () => seek(0),
  End: () => seek(end),
  "+": () => zoomBy(-1),
  "-": () => zoomBy(1),
  " ": toggle,
};
document.addEventListener("keydown", (event) => {
  const own = event.target.closest("select, summary, .scroll"); // these have uses of their own for the keys
  if (own || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  if (event.key === " " && event.target.closest("button")) return;
  event.preventDefault();
  KEYS[event.key]();
});

addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
function forPrint(on) {
  printing = on;
  document.documentElement.toggleAttribute("data-print", on);
  look(on ? 0 : now - 0.15 * span());
  readColours();
}
addEventListener("beforeprint", () => forPrint(true));
addEventListener("afterprint", () => forPrint(false));
globalThis.report = { get now() { return now; }, get view() { return view; }, get stepsRead() { return stepsRead; }, get audio() { return audio; }, look, redraw, seek };
readColours();
