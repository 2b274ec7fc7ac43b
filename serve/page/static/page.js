// The drawing page: sends the drawing to the server while one draws, and shows its answers.
import { DOT, objection } from "./figures.js";
import { Paper } from "./paper.js";
import { receivePictures } from "./pictures.js";
import { fetchJson, Reader } from "./reader.js";
import { sample } from "./samples.js";
import { percent, short, verdict } from "./words.js";

const NOTHING = "Nothing drawn yet; a digit is read as you draw it.";
const page = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const paper = new Paper(page.canvas, changed);
const reader = new Reader({
  picture: () => paper.picture(),
  onAnswer: showAnswer,
  onFailure: showFailure,
});
let model = null; // the answer of /model
let samples = []; // labels of which there is a sample, the next first

function changed() {
  const { blank } = paper;
  // A button that is disabled would lose the keyboard's focus.
  if (blank && [page.undo, page.clear].includes(document.activeElement)) {
    page.canvas.focus({ preventScroll: true });
  }
  page.undo.disabled = page.clear.disabled = blank;
  document.body.classList.toggle("drawn", !blank);
  if (blank) return;
  page.bars.ariaBusy = "true";
  reader.ask();
}

function undo() {
  reader.forget();
  paper.undo();
  if (paper.blank) reset(NOTHING);
}

function clear() {
  reader.forget();
  paper.clear();
  reset(NOTHING);
}

async function showAnswer({ predictions: [prediction], model: { version } }, newest) {
  if (version !== model?.version) {
    await showModel();
    return paper.blank || reader.ask();
  }
  const objected = objection(darkness(prediction.input));
  if (objected === DOT && paper.drawing) return; // Every stroke begins as a dot.
  const { label, doubt, sentence } = objected
    ? { label: "?", doubt: true, sentence: objected }
    : verdict(prediction, model.labels);
  set({ label, sentence, doubt, empty: false });
  prediction.probabilities.forEach((value, i) =>
    fill(page.bars.children[i], value, !objected && value === prediction.probability),
  );
  showInput(prediction.input);
  // Announce answers to whole strokes only.
  if (newest && !paper.drawing) announce(doubt ? sentence : `${label}. ${sentence}`);
}

function showFailure(sentence, again) {
  const message = sentence[0].toUpperCase() + sentence.slice(1).replace(/[^.!?]$/, "$&.");
  reset(message);
  if (again !== null) page.sentence.textContent = `${message} It is asked again in ${again} s.`;
  page.again.hidden = again === null;
}

function reset(sentence) {
  set({ label: "?", sentence, doubt: false, empty: true });
  for (const bar of page.bars.children) fill(bar, 0, false);
  page.seen.getContext("2d").clearRect(0, 0, page.seen.width, page.seen.height);
  announce(sentence);
}

function set({ label, sentence, doubt, empty }) {
  document.body.classList.toggle("empty", empty);
  document.body.classList.toggle("doubt", doubt);
  document.body.classList.toggle("wordy", label.length > 2);
  page.label.textContent = label;
  page.sentence.textContent = sentence;
  page.again.hidden = true;
}

// Let screen readers read a text.
function announce(text) {
  page.bars.ariaBusy = "false";
  if (page.announcement.textContent !== text) page.announcement.textContent = text;
}

function fill(bar, value, best) {
  bar.classList.toggle("best", best);
  bar.querySelector(".fill").style.setProperty("--share", value);
  bar.querySelector(".percent").textContent = short(value);
  const meter = bar.querySelector(".track");
  [meter.ariaValueNow, meter.ariaValueText] = [value, short(value)];
}

// Return the network's input as 28 rows of numbers from 0 paper to 1 ink.
function darkness([rows]) {
  const [low, high] = model.inputs[0].range ?? [0, 255];
  return rows.map((row) => row.map((value) => (value - low) / (high - low)));
}

// Show the network's input pixel for pixel: ink is white on black, as in MNIST.
function showInput(input) {
  const image = new ImageData(page.seen.width, page.seen.height);
  darkness(input).flat().forEach((value, i) => {
    image.data.fill(value * 255, 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  });
  page.seen.getContext("2d").putImageData(image, 0, 0);
}

function drawSample(label) {
  reader.forget();
  paper.replace({ strokes: sample(label) });
}

function drawNextSample() {
  samples.push(samples.shift());
  drawSample(samples.at(-1));
}

const KEYS = { c: clear, escape: clear, delete: clear, z: undo, backspace: undo };

function press(event) {
  const key = event.key.toLowerCase();
  const modified = event.altKey || event.ctrlKey || event.metaKey;
  if (modified && !(key === "z" && !event.altKey && !event.shiftKey)) return;
  if (KEYS[key]) {
    event.preventDefault();
    KEYS[key]();
  } else if (!modified && samples.includes(key)) {
    drawSample(key);
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
  // The meter says all three.
  parts[0].ariaHidden = parts[2].ariaHidden = "true";
  Object.assign(parts[1], { role: "meter", ariaLabel: label, ariaValueMin: 0, ariaValueMax: 1 });
  parts[1].append(inside);
  item.append(...parts);
  fill(item, 0, false);
  return item;
}

// Fetch and show the model: at the start, and whenever another version has answered.
async function showModel() {
  model = await fetchJson("model");
  const { name, version, metrics, labels } = model;
  const accuracy = metrics.test_accuracy;
  const correct = typeof accuracy === "number" ? `, right on ${percent(accuracy, 2)} of its test images` : "";
  page.model.textContent = `Read by the model ${name}${correct}`;
  page.version.title = `Version ${version}`;
  samples = labels.filter((label) => sample(label).length > 0);
  page.sample.hidden = samples.length === 0;
  page.bars.replaceChildren(...labels.map(bar));
}

page.undo.addEventListener("click", undo);
page.clear.addEventListener("click", clear);
page.sample.addEventListener("click", drawNextSample);
page.again.addEventListener("click", () => reader.again());
document.addEventListener("keydown", press);
receivePictures({
  onPicture(picture) {
    reader.forget();
    paper.replace({ picture });
  },
  onFailure: () => showFailure("This is no picture that the browser can read", null),
});
paper.show();
showModel().catch((failure) => showFailure(failure.message, null));
