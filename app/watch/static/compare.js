// Draw the figures of the runs that are compared
"use strict";

const root = document.getElementById("figures");
fetch(root.dataset.source).then(async (reply) => {
  if (reply.ok) drawFigures(root, await reply.json());
});
