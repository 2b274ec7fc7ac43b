// Change a part of the page into a fresh one, element by element, so that focus and scrolling stay
"use strict";

/** The name by which an element is found again among its siblings; nothing for most. */
function nameOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  return node.id || node.getAttribute("aria-labelledby") || "";
}

/** Change an element into a fresh one; what `data-keep` marks stays as it is. */
function morph(old, fresh) {
  if (old.isEqualNode(fresh) || ("dataset" in old && "keep" in old.dataset)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    // A reader opens and closes details.
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const found = sameAs(child, at);
    if (!found) {
      old.insertBefore(child, at);
      continue;
    }
    for (; at !== found; at = removed(at));
    at = found.nextSibling;
    morph(found, child);
  }
  while (at) at = removed(at);
}

/** Return the node from there on that is to become this one: of its name, or the very next. */
function sameAs(child, at) {
  const name = nameOf(child);
  for (let node = at; node; node = name ? node.nextSibling : null) {
    if (node.nodeName === child.nodeName && nameOf(node) === name) return node;
  }
  return null;
}

/** Remove a node, and return the one after it. */
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}
