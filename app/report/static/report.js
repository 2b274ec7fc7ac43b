// Draw the report's figures, and fit them to the paper when it is printed
"use strict";
const figures = JSON.parse(document.getElementById("data").textContent);
drawFigures(document.getElementById("figures"), figures);

const PAPER = { width: 340, height: 270 };
const plots = () => document.querySelectorAll("#figures .plot");
const heights = new Map();
addEventListener("beforeprint", () => {
  drawAllFigures();
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  plots().forEach((plot) => {
    const height = plot.layout.height;
    heights.set(plot, height);
    const fitted = { width: PAPER.width, height: Math.min(height, PAPER.height) };
    Plotly.relayout(plot, { autosize: false, ...fitted, "font.size": 10 });
  });
});
addEventListener("afterprint", () => {
  heights.forEach((height, plot) => {
    Plotly.relayout(plot, { autosize: true, width: null, height, "font.size": 13 });
  });
});
