// The paper: strokes of mouse, finger or pen are kept as points, and drawn anew from them on the
// screen, and for the model, so that neither the screen's size nor its colours reach it.
const BRUSH = 0.08; // of the paper's side, on the screen
const SENT_SIDE = 280;
const SENT_BRUSH = 0.13; // of the drawing's longer side: near MNIST's, however small one draws
const SMALLEST = 0.1; // of the paper's side: what is smaller is not enlarged further

export class Paper {
  #canvas;
  #changed;
  #strokes = []; // each a list of [x, y], 0 to 1 across the paper
  #pointer = null; // the one that is down
  #frame = null; // the next one of the screen, where the paper is to be shown

  // `changed()` is called whenever there is another drawing, or a stroke has ended.
  constructor(canvas, changed) {
    [this.#canvas, this.#changed] = [canvas, changed];
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#end(event));
    }
    new ResizeObserver(() => this.show()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
  }

  get blank() {
    return this.#strokes.length === 0;
  }

  // Whether a stroke has begun and not ended.
  get drawing() {
    return this.#pointer !== null;
  }

  undo() {
    this.#keep(this.#strokes.slice(0, -1));
  }

  clear() {
    this.#keep([]);
  }

  picture() {
    return picture(this.#strokes);
  }

  // However many pointer events come between, each frame of the screen is painted once.
  show() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
      const side = Math.round(this.#canvas.clientWidth * window.devicePixelRatio);
      if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
      const context = this.#canvas.getContext("2d");
      context.clearRect(0, 0, side, side);
      paint(context, this.#strokes, ink, BRUSH * side, ([x, y]) => [x * side, y * side]);
    });
  }

  #keep(strokes) {
    this.#strokes = strokes;
    this.#pointer = null;
    this.#change();
  }

  #change() {
    this.show();
    this.#changed();
  }

  #begin(event) {
    if (this.drawing || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#strokes.push([this.#point(event)]);
    this.#change();
  }

  #go(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map((each) => this.#point(each));
    this.#strokes.at(-1).push(...points);
    this.#change();
  }

  #end(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#change();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
}

// Strokes as the server takes a drawing: a PNG, dark on white, all of it in sight, in one size.
export function picture(strokes) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SENT_SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SENT_SIDE, SENT_SIDE);
  const [across, down] = [0, 1].map((axis) => extent(strokes.flat().map((point) => point[axis])));
  const longer = SENT_SIDE * (1 - 2 * SENT_BRUSH); // on what is sent
  const scale = longer / Math.max(SMALLEST, across.length, down.length);
  const place = ([x, y]) => [
    SENT_SIDE / 2 + (x - across.middle) * scale,
    SENT_SIDE / 2 + (y - down.middle) * scale,
  ];
  paint(context, strokes, "#000", SENT_BRUSH * longer, place);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function extent(values) {
  const [low, high] = [Math.min, Math.max].map((end) => values.reduce((one, other) => end(one, other)));
  return { middle: (low + high) / 2, length: high - low };
}

function paint(context, strokes, ink, width, place) {
  context.strokeStyle = ink;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) trace(context, stroke.map(place));
}

// Through the middles of neighbouring points, with the points as controls: corners become curves.
function trace(context, points) {
  const last = points.at(-1);
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
