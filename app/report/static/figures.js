// Draw a run's figures by plotly.js, and offer logarithmic scales
"use strict";

const PLOT_OPTIONS = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
const AXIS_WORDS = { xaxis: "time", yaxis: "values" };

/** Figures by their boxes, until these come near the window: drawing thousands of trials takes time. */
const waiting = new Map();
const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && drawWaiting(entry.target)),
  { rootMargin: "50% 0px" },
);

function drawWaiting(box) {
  near.unobserve(box);
  if (waiting.has(box)) drawFigure(box, waiting.get(box));
  waiting.delete(box);
}

/** Draw all figures now, as for paper. */
function drawAllFigures() {
  [...waiting.keys()].forEach(drawWaiting);
}

/** Draw figures by title below an element; drawn again, each keeps its zoom and its scales. */
function drawFigures(root, figures) {
  for (const box of [...root.children]) {
    if (!(box.dataset.title in figures)) removeBox(box);
  }
  const boxes = new Map([...root.children].map((box) => [box.dataset.title, box]));
  for (const title of Object.keys(figures)) {
    if (!boxes.has(title)) boxes.set(title, root.appendChild(newBox(title)));
  }
  // All boxes are there before the first is drawn: a plot is as wide as its column.
  for (const [title, figure] of Object.entries(figures)) {
    const box = boxes.get(title);
    box.querySelector(".plot").style.minHeight = `${figure.layout.height}px`;
    waiting.set(box, figure);
    near.unobserve(box);
    near.observe(box);
  }
}

function removeBox(box) {
  near.unobserve(box);
  waiting.delete(box);
  Plotly.purge(box.querySelector(".plot"));
  box.remove();
}

function drawFigure(box, figure) {
  offerScales(box, figure);
  const layout = { ...figure.layout, uirevision: box.dataset.title };
  for (const toggle of box.querySelectorAll("input:checked")) {
    layout[toggle.name] = { ...layout[toggle.name], type: "log" };
  }
  Plotly.react(box.querySelector(".plot"), figure.data, layout, PLOT_OPTIONS);
}

function newBox(title) {
  const box = document.createElement("figure");
  box.dataset.title = title;
  const heading = document.createElement("figcaption");
  heading.append(Object.assign(document.createElement("h3"), { textContent: title }));
  const scales = Object.assign(document.createElement("span"), { className: "scales" });
  heading.append(scales);
  const plot = Object.assign(document.createElement("div"), { className: "plot" });
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", title);
  box.append(heading, plot);
  return box;
}

/** Offer a logarithmic scale for each axis whose values are all above 0. */
function offerScales(box, figure) {
  const scales = box.querySelector(".scales");
  const names = (figure.layout.meta || {}).log || [];
  for (const label of [...scales.children]) {
    if (!names.includes(label.firstChild.name)) label.remove();
  }
  for (const name of names) {
    if (scales.querySelector(`input[name="${name}"]`)) continue;
    const toggle = Object.assign(document.createElement("input"), { type: "checkbox", name });
    toggle.addEventListener("change", () => {
      const type = toggle.checked ? "log" : "linear";
      Plotly.relayout(box.querySelector(".plot"), {
        [`${name}.type`]: type,
        [`${name}.autorange`]: true,
      });
    });
    const label = document.createElement("label");
    label.append(toggle, names.length > 1 ? ` log ${AXIS_WORDS[name]}` : " log scale");
    scales.append(label);
  }
}
