// Drawing pad for a notebook: the drawing is the widget model's `drawing`, a PNG as a data URL, dark
// on white; "" is an empty pad.

const SIDE = 280;
const BRUSH = 0.08; // of the pad's side: near the stroke of MNIST once the digit is trimmed

function render({ model, el }) {
  const [canvas, clear] = [document.createElement("canvas"), document.createElement("button")];
  const pen = canvas.getContext("2d");
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "A pad: draw a digit");
  // A finger draws here and does not scroll.
  canvas.style.cssText =
    `display: block; width: ${SIDE}px; height: ${SIDE}px; touch-action: none; cursor: crosshair;` +
    "border: 1px solid #888; border-radius: 6px; box-sizing: content-box";
  clear.type = "button";
  clear.textContent = "Clear";
  clear.style.cssText = "margin-top: 6px; padding: 2px 14px; font: inherit; cursor: pointer";

  let pointer = null; // id of the pointer that is down
  let last; // its last point
  let strokes = []; // one path a stroke, drawn whole: pieces would show their joints
  let background = null; // a drawing that the kernel or another view set
  let shown = ""; // the drawing that this pad shows

  function paint() {
    pen.fillRect(0, 0, SIDE, SIDE);
    if (background) pen.drawImage(background, 0, 0, SIDE, SIDE);
    for (const stroke of strokes) pen.stroke(stroke);
  }

  function erase() {
    [pointer, strokes, background] = [null, [], null];
    paint();
  }

  function send(drawing) {
    shown = drawing;
    model.set("drawing", drawing);
    model.save_changes();
  }

  // Show a drawing that another view or the kernel set.
  async function show() {
    const drawing = model.get("drawing");
    if (drawing === shown) return;
    shown = drawing;
    erase();
    if (!drawing) return;
    const image = new Image();
    image.src = drawing;
    await image.decode();
    if (drawing !== shown) return;
    background = image;
    paint();
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const inside = (at, start, length) => ((at - start - 1) / (length - 2)) * SIDE; // of its border
    return [
      inside(event.clientX, box.left, box.width),
      inside(event.clientY, box.top, box.height),
    ];
  }

  // Through the middles of neighbouring points, with the points as controls: corners are curves.
  function extend([x, y]) {
    strokes.at(-1).quadraticCurveTo(...last, (last[0] + x) / 2, (last[1] + y) / 2);
    last = [x, y];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    event.preventDefault();
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    last = point(event);
    strokes.push(new Path2D());
    strokes.at(-1).moveTo(...last);
    // A line without length is not drawn, but a dot is a stroke too.
    extend([last[0] + 0.01, last[1]]);
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const move of events.length ? events : [event]) extend(point(move));
    paint();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      strokes.at(-1).lineTo(...last);
      paint();
      send(canvas.toDataURL("image/png"));
    });
  }
  clear.addEventListener("click", () => {
    erase();
    send("");
  });

  pen.fillStyle = "#fff";
  pen.lineWidth = BRUSH * SIDE;
  pen.lineCap = pen.lineJoin = "round";
  erase();
  el.append(canvas, clear);
  model.on("change:drawing", show);
  show();
  return () => model.off("change:drawing", show);
}

export default { render };
