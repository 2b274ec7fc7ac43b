// Tells what is no single digit, by the network's input: 28 rows of 28 numbers, from 0 paper to 1 ink.
// Of MNIST's 60,000 training images 42 are taken for two figures and 19 for a dot.
const INK = 0.25; // darkness from which a pixel belongs to a figure
const GAP = 2; // columns of paper between two figures
const TALL = 0.5; // height of the lower one of two figures, as a share of both
const FULL = 0.75; // share of ink in a dot's box; a disc has more, and a digit has paper in it
const SQUARE = 1.6; // a box whose sides differ by more is a stroke's and no dot's

export const DOT = "This looks like a dot, not a digit.";
export const TWO_FIGURES = "These look like two figures; draw a single digit.";

// Return the sentence that says why the input is no single digit, or null.
export function objection(input) {
  const rows = input.map((row) => row.map((value) => value >= INK));
  const columns = rows[0].map((_, x) => rows.map((row) => row[x]));
  const height = span(rows);
  const width = span(columns);
  if (height === 0) return null;
  const inked = rows.flat().filter(Boolean).length;
  const square = Math.max(width, height) <= SQUARE * Math.min(width, height);
  if (square && inked > FULL * width * height) return DOT;
  return parts(columns).some((low) => low >= TALL * height) ? TWO_FIGURES : null;
}

// Return the number of lines from the first to the last that has ink.
function span(lines) {
  const inked = lines.map((line) => line.includes(true));
  return inked.includes(true) ? inked.lastIndexOf(true) - inked.indexOf(true) + 1 : 0;
}

// Return the height of the lower part at each gap between columns.
function parts(columns) {
  const heights = [];
  const inked = columns.map((column) => column.includes(true));
  for (let x = inked.indexOf(true); x <= inked.lastIndexOf(true); x++) {
    const next = inked.indexOf(true, x);
    if (next - x >= GAP) heights.push(Math.min(height(columns.slice(0, x)), height(columns.slice(next))));
    x = Math.max(x, next - 1);
  }
  return heights;
}

function height(columns) {
  return span(columns[0].map((_, y) => columns.map((column) => column[y])));
}
