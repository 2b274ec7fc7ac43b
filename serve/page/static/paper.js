// Strokes of mouse, finger or pen, or one picture in their place. Strokes are stored as points and
// painted twice: on the screen, and for the model, which neither the screen's size nor its colours reach.
const BRUSH = 0.08; // width of a line on the screen, as a share of the paper's side
const SENT_SIDE = 280;
const SENT_BRUSH = 0.13; // width of a line as sent, as a share of the drawing's longer side: near MNIST's
const MIN_EXTENT = 0.1; // share of the paper's side below which a drawing is not enlarged further

export class Paper {
  #canvas;
  #changed;
  #strokes = []; // lists of [x, y], 0 to 1 across the paper
  #picture = null; // a canvas with a picture that came instead
  #pointer = null; // id of the pointer that is down
  #frame = null; // the animation frame that will paint

  // `changed()` is called whenever the drawing changes or a stroke ends.
  constructor(canvas, changed) {
    [this.#canvas, this.#changed] = [canvas, changed];
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#extend(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#end(event));
    }
    new ResizeObserver(() => this.show()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
  }

  get blank() {
    return this.#strokes.length === 0 && this.#picture === null;
  }

  // Whether a stroke is being drawn.
  get drawing() {
    return this.#pointer !== null;
  }

  undo() {
    this.replace({ strokes: this.#strokes.slice(0, -1) });
  }

  clear() {
    this.replace({});
  }

  // Put strokes or a picture in the place of what is there.
  replace({ strokes = [], picture = null }) {
    [this.#strokes, this.#picture, this.#pointer] = [strokes, picture, null];
    this.#change();
  }

  picture() {
    return this.#picture === null ? picture(this.#strokes) : encode(this.#picture);
  }

  // Paint once a frame, however many pointer events come between.
  show() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
      const side = Math.round(this.#canvas.clientWidth * window.devicePixelRatio);
      if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
      const context = this.#canvas.getContext("2d");
      context.clearRect(0, 0, side, side);
      paint(context, this.#strokes, ink, BRUSH * side, ([x, y]) => [x * side, y * side]);
      if (this.#picture !== null) fit(context, this.#picture, side);
    });
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
    this.#picture = null; // A stroke begins a drawing of its own.
    this.#strokes.push([this.#point(event)]);
    this.#change();
  }

  #extend(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map((moved) => this.#point(moved));
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

// Paint strokes for the server: a PNG of one size, dark on white, with the whole drawing inside.
export function picture(strokes) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SENT_SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SENT_SIDE, SENT_SIDE);
  const [across, down] = [0, 1].map((axis) => extent(strokes.flat().map((point) => point[axis])));
  const longer = SENT_SIDE * (1 - 2 * SENT_BRUSH); // side of the drawing as sent, in pixels
  const scale = longer / Math.max(MIN_EXTENT, across.length, down.length);
  const place = ([x, y]) => [
    SENT_SIDE / 2 + (x - across.middle) * scale,
    SENT_SIDE / 2 + (y - down.middle) * scale,
  ];
  paint(context, strokes, "#000", SENT_BRUSH * longer, place);
  return encode(canvas);
}

function encode(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Paint a whole picture into the middle of a square, as large as it fits.
function fit(context, picture, side) {
  const scale = side / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  context.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
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

// Draw curves through the midpoints of neighbouring points, which are the control points.
function trace(context, points) {
  const last = points.at(-1);
  context.beginPath();
  context.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [x, y] = points[i];
    const [nextX, nextY] = points[i + 1];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  // A line without length would not be drawn; a dot gets a little.
  context.lineTo(last[0] + (points.length === 1 ? 0.01 : 0), last[1]);
  context.stroke();
}
