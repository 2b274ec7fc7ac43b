// Draw the report's figures, and fit them to the paper when it is printed
"use strict";
const figures = JSON.parse(document.getElementById("data").textContent);
drawFigures(document.getElementById("figures"), figures);

const PAPER_WIDTH = 340;
const plots = () => document.querySelectorAll("#figures .plot");
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  plots().forEach((plot) => Plotly.relayout(plot, { autosize: false, width: PAPER_WIDTH }));
});
addEventListener("afterprint", () => {
  plots().forEach((plot) => Plotly.relayout(plot, { autosize: true, width: null }));
});
