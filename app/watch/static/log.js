// Show a trial's log as it grows, and stay at its end unless a reader scrolls up
"use strict";

const MOST = 400000;
const log = document.getElementById("log");
follow(log.dataset.log, {
  reset: () => (log.textContent = ""),
  message: (data) => {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = (log.textContent + JSON.parse(data)).slice(-MOST);
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  },
});
