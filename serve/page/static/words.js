// Words and numbers for probabilities.
const SURE = 0.9; // the most probable labels that add up to this are named
const MAX_NAMED = 3; // of more labels, none stands out

// Round a share to a percentage; only the whole is 100 %.
export function percent(share, decimals) {
  const rounded = (share * 100).toFixed(decimals);
  if (share >= 1 || Number(rounded) < 100) return `${rounded}\u00a0%`;
  return `over ${(100 - 10 ** -decimals).toFixed(decimals)}\u00a0%`;
}

// Format the probability beside a bar: no network is certain, and a small share is not zero.
export function short(probability) {
  const rounded = Math.round(probability * 100);
  if (rounded === 100) return ">99\u00a0%";
  return rounded === 0 && probability >= 0.0005 ? "<1\u00a0%" : `${rounded}\u00a0%`;
}

// Return the label to show, whether it is in doubt, and a sentence.
export function verdict({ label, probability, probabilities }, labels) {
  const names = leaders(probabilities).map((index) => labels[index]);
  if (names.length === 1) return { label, doubt: false, sentence: `${sure(probability)} sure.` };
  if (names.length > MAX_NAMED) return { label: "?", doubt: true, sentence: "Nothing stands out." };
  return { label, doubt: true, sentence: `Not sure: ${either(names)}.` };
}

function sure(probability) {
  const text = percent(Math.min(probability, 0.9999), 1);
  return text[0].toUpperCase() + text.slice(1);
}

// Return the indices of the most probable labels that add up to SURE.
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
