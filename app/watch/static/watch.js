// Draw a run's figures, and bring its page up to date when the run changes
"use strict";

const page = document.getElementById("run");
const address = `/runs/${encodeURIComponent(page.dataset.run)}`;

/** Draw the figures, which keep their zoom. */
async function draw() {
  const reply = await fetch(`${address}/figures`);
  const root = document.getElementById("figures");
  if (reply.ok && root) drawFigures(root, await reply.json());
}

/** Replace the facts around the figures, which stay where they are. */
async function renew() {
  const reply = await fetch(`${address}/body`);
  if (!reply.ok) return;
  const fresh = document.createElement("div");
  fresh.innerHTML = await reply.text();
  const [drawn, place] = [document.getElementById("figures"), fresh.querySelector("#figures")];
  if (drawn && place) place.replaceWith(drawn);
  const opened = document.querySelector("#run details");
  const details = fresh.querySelector("details");
  if (opened && details) details.open = opened.open;
  const focused = document.activeElement && document.activeElement.getAttribute("href");
  page.replaceChildren(...fresh.childNodes);
  if (focused) page.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  await draw();
}

/** Replace the lines that change without the run's files. */
function tell(data) {
  const fresh = document.createElement("div");
  fresh.innerHTML = JSON.parse(data);
  document.getElementById("now").replaceWith(...fresh.childNodes);
}

let renewing = Promise.resolve();
const change = () => (renewing = renewing.then(renew, renew));
const begin = () => follow(`${address}/events`, { change, now: tell }, page.dataset.seen);
draw().then(begin, begin);
