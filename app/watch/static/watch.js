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

/** Return an element with this HTML inside. */
function parse(html) {
  const fresh = document.createElement("div");
  fresh.innerHTML = html;
  return fresh;
}

/** Bring the facts around the figures up to date, and then the figures. */
async function renew() {
  const reply = await fetch(`${address}/body`);
  if (!reply.ok) return;
  morphChildren(page, parse(await reply.text()));
  await draw();
}

/** Bring the lines up to date that change without the run's files. */
const tell = (data) => morph(document.getElementById("now"), parse(JSON.parse(data)).firstElementChild);

let renewing = Promise.resolve();
const change = () => (renewing = renewing.then(renew, renew));
const begin = () => follow(`${address}/events`, { change, now: tell }, page.dataset.seen);
draw().then(begin, begin);
