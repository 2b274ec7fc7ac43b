// The drawing page: strokes are kept as points, and what is sent is drawn from them anew, dark on
// white and 280 by 280, so that neither the screen's size nor its colours reach the model.
"use strict";

const SENT_SIDE = 280;
const BRUSH = 0.08; // of the paper's side: near the stroke of MNIST once the digit is trimmed
const page = Object.fromEntries(
  ["model", "canvas", "undo", "clear", "label", "sentence", "bars", "announcement"].map(
    (id) => [id, document.getElementById(id)],
  ),
);

let strokes = []; // each a list of [x, y], 0 to 1 across the paper
let drawing = null; // the pointer that is down
let sending = false;
let stale = false; // whether the drawing has changed since it was last sent

function paint(canvas, ink, paper) {
  const context = canvas.getContext("2d");
  const side = canvas.width;
  context.clearRect(0, 0, side, side);
  if (paper) {
    context.fillStyle = paper;
    context.fillRect(0, 0, side, side);
  }
  context.strokeStyle = ink;
  context.lineWidth = BRUSH * side;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) trace(context, stroke, side);
}

// Through the middles of neighbouring points, with the points as controls: corners become curves.
function trace(context, stroke, side) {
  const points = stroke.map(([x, y]) => [x * side, y * side]);
  const last = points[points.length - 1];
  context.beginPath();
  context.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [x, y] = points[i];
    const [nextX, nextY] = points[i + 1];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  // A line without length is not drawn, but a dot is a stroke too.
  context.lineTo(last[0] + (points.length === 1 ? 0.01 : 0), last[1]);
  context.stroke();
}

function show() {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  const side = Math.round(page.canvas.clientWidth * window.devicePixelRatio);
  if (page.canvas.width !== side) page.canvas.width = page.canvas.height = side;
  paint(page.canvas, ink, null);
  const blank = strokes.length === 0;
  page.undo.disabled = page.clear.disabled = blank;
  document.body.classList.toggle("drawn", !blank);
}

function changed() {
  show();
  stale = true;
  if (strokes.length === 0) reset();
  else if (!sending) send();
}

// One request at a time, always of the newest drawing; those between are never sent.
async function send() {
  sending = true;
  while (stale && strokes.length > 0) {
    stale = false;
    try {
      const [ok, answer] = await ask(await picture());
      if (strokes.length > 0) ok ? tell(answer.predictions[0]) : refuse(answer.error);
    } catch {
      refuse("The server does not answer; is it still running?");
    }
  }
  sending = false;
}

function picture() {
  const sent = document.createElement("canvas");
  sent.width = sent.height = SENT_SIDE;
  paint(sent, "#000", "#fff");
  return new Promise((resolve) => sent.toBlob(resolve, "image/png"));
}

async function ask(image) {
  const headers = { "content-type": "image/png" };
  const response = await fetch("/predict", { method: "POST", headers, body: image });
  return [response.ok, await response.json()];
}

function tell({ label, probability, probabilities }) {
  document.body.classList.remove("empty");
  page.label.textContent = label;
  page.sentence.textContent = sentence(probability);
  probabilities.forEach((value, i) => fill(page.bars.children[i], value, value === probability));
  if (drawing === null && !stale) announce();
}

function sentence(probability) {
  if (probability < 0.5) return "Could be anything: no digit stands out.";
  if (probability < 0.9) return `Probably: ${percent(probability)} sure.`;
  return `${percent(probability)} sure.`;
}

function percent(value) {
  return `${(Math.floor(value * 1000) / 10).toFixed(1)} %`;
}

function fill(bar, value, best) {
  bar.classList.toggle("best", best);
  bar.querySelector(".fill").style.transform = `scaleX(${value})`;
  bar.querySelector(".percent").textContent = `${Math.round(value * 100)} %`;
}

// Read out for the whole drawing when a stroke has ended, not for answers on the way.
function announce() {
  page.announcement.textContent = `${page.label.textContent}, ${page.sentence.textContent}`;
}

function reset(text = "Draw a digit and it is read as you go.") {
  document.body.classList.add("empty");
  page.label.textContent = "?";
  page.sentence.textContent = text;
  page.announcement.textContent = "";
  for (const bar of page.bars.children) fill(bar, 0, false);
}

function refuse(error) {
  reset(error);
  page.announcement.textContent = error;
}

function point(event) {
  const box = page.canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function begin(event) {
  if (drawing !== null || event.button !== 0) return;
  event.preventDefault();
  drawing = event.pointerId;
  page.canvas.setPointerCapture(drawing);
  strokes.push([point(event)]);
  changed();
}

function go(event) {
  if (event.pointerId !== drawing) return;
  const events = event.getCoalescedEvents?.() ?? [];
  strokes[strokes.length - 1].push(...(events.length ? events : [event]).map(point));
  changed();
}

function end(event) {
  if (event.pointerId !== drawing) return;
  drawing = null;
  changed();
}

function undo() {
  strokes.pop();
  drawing = null;
  changed();
}

function clear() {
  strokes = [];
  drawing = null;
  changed();
}

const KEYS = { c: clear, Escape: clear, Delete: clear, z: undo, Backspace: undo };

function press(event) {
  if (event.altKey || (event.key !== "z" && (event.ctrlKey || event.metaKey))) return;
  const action = KEYS[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function bar(label) {
  const item = document.createElement("li");
  const parts = ["name", "track", "percent"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    return part;
  });
  const inside = document.createElement("span");
  inside.className = "fill";
  parts[0].textContent = label;
  parts[1].append(inside);
  item.append(...parts);
  return item;
}

function describe({ name, version, metrics, labels }) {
  const accuracy = metrics.test_accuracy;
  const right = typeof accuracy === "number" ? `, right on ${percent(accuracy)} of its test images` : "";
  page.model.textContent = `Read by the model ${name} ${version}${right}`;
  page.bars.replaceChildren(...labels.map(bar));
  reset();
}

async function start() {
  describe(await (await fetch("/model")).json());
  page.canvas.addEventListener("pointerdown", begin);
  page.canvas.addEventListener("pointermove", go);
  for (const name of ["pointerup", "pointercancel"]) page.canvas.addEventListener(name, end);
  page.undo.addEventListener("click", undo);
  page.clear.addEventListener("click", clear);
  document.addEventListener("keydown", press);
  new ResizeObserver(show).observe(page.canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

start();
