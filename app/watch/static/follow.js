// Follow server-sent events while the page is seen, and say when what it shows is gone
"use strict";

const AGAIN_MS = 3000;

/**
 * Call the handler of each event by its name. Asked again, the server is told the last event that
 * came. A hidden page holds no connection: a browser has six to a server, for all its pages.
 */
function follow(address, handlers, last = "") {
  const note = document.getElementById("note");
  let source = null;
  let isGone = false;

  function say(kind) {
    note.hidden = !kind;
    note.textContent = kind ? note.dataset[kind] : "";
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  function end() {
    isGone = true;
    close();
    say("gone");
  }

  /** Find out why the server answered with no stream; a lost connection the browser opens again. */
  async function lose() {
    if (source.readyState !== EventSource.CLOSED) return say("lost");
    close();
    const reply = await fetch(location.href, { method: "HEAD" }).catch(() => null);
    if (reply && reply.status === 404) return end();
    say(reply ? "unread" : "lost");
    setTimeout(open, AGAIN_MS);
  }

  function open() {
    if (source || isGone || document.hidden) return;
    source = new EventSource(`${address}?after=${encodeURIComponent(last)}`);
    source.addEventListener("open", () => say(""));
    source.addEventListener("gone", end);
    source.addEventListener("error", lose);
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        last = event.lastEventId;
        handle(event.data);
      });
    }
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
