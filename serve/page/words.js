// What the page says of probabilities.
const SURE = 0.9; // those who share so much of the probability are named
const NAMED = 3; // where there would be more of them, nothing stands out

// A share as a percentage, rounded; 100 % is for the whole alone.
export function percent(share, decimals) {
  const rounded = (share * 100).toFixed(decimals);
  if (share >= 1 || Number(rounded) < 100) return `${rounded}\u00a0%`;
  return `over ${(100 - 10 ** -decimals).toFixed(decimals)}\u00a0%`;
}

// A probability beside its bar: no network is ever certain, and what is little is not nothing.
export function short(probability) {
  const rounded = Math.round(probability * 100);
  if (rounded === 100) return ">99\u00a0%";
  return rounded === 0 && probability >= 0.0005 ? "<1\u00a0%" : `${rounded}\u00a0%`;
}

// What is shown large, whether that is in doubt, and a sentence about it.
export function verdict({ label, probability, probabilities }, labels) {
  const names = leaders(probabilities).map((index) => labels[index]);
  if (names.length === 1) return { label, doubt: false, sentence: `${sure(probability)} sure.` };
  if (names.length > NAMED) return { label: "?", doubt: true, sentence: "Nothing stands out." };
  return { label, doubt: true, sentence: `Not sure: ${either(names)}.` };
}

function sure(probability) {
  const said = percent(Math.min(probability, 0.9999), 1);
  return said[0].toUpperCase() + said.slice(1);
}

// The most probable ones that it takes to be sure of having the right one among them.
function leaders(probabilities) {
  const ranked = probabilities.map((_, index) => index);
  ranked.sort((one, other) => probabilities[other] - probabilities[one]);
  let [count, sum] = [0, 0];
  while (sum < SURE && count < ranked.length) sum += probabilities[ranked[count++]];
  return ranked.slice(0, count);
}

function either(names) {
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}
