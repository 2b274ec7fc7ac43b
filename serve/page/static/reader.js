// Asks the server to read the drawing: one request at a time, for the newest drawing. Drawings in
// between are not sent, and answers to a drawing that is gone are dropped.
const PACE_MS = 40; // least time between requests
const TIMEOUT_MS = 10_000; // of a request
const MAX_RETRY_S = 30; // longest pause before a retry
const TEMPORARY = new Set([408, 429, 500, 502, 503, 504]);

// A request without an answer. `temporary` says whether to retry, `wait` after how many seconds.
class Failure extends Error {
  constructor(sentence, { temporary, wait = 0 }) {
    super(sentence);
    Object.assign(this, { temporary, wait });
  }
}

export class Reader {
  #picture;
  #onAnswer;
  #onFailure;
  #stale = false; // whether the drawing has changed since it was last sent
  #running = false;
  #abort = new AbortController();
  #timer = null; // of the next retry
  #failures = 0; // in a row

  // `picture()` returns the drawing to send. `onAnswer(answer, newest)` is called with an answer and
  // whether it is to the newest drawing, `onFailure(sentence, again)` with a failure and the seconds
  // until the retry, or null.
  constructor({ picture, onAnswer, onFailure }) {
    [this.#picture, this.#onAnswer, this.#onFailure] = [picture, onAnswer, onFailure];
  }

  // Send the changed drawing, unless a retry is due anyway.
  ask() {
    this.#stale = true;
    if (!this.#running && this.#timer === null) this.#run();
  }

  // Retry at once.
  again() {
    this.#cancelRetry();
    this.ask();
  }

  // Drop the request in work: its drawing is gone.
  forget() {
    this.#stale = false;
    this.#failures = 0;
    this.#cancelRetry();
    this.#abort.abort();
  }

  async #run() {
    this.#running = true;
    try {
      while (this.#stale && this.#timer === null) {
        this.#stale = false;
        this.#abort = new AbortController();
        const paced = pause(PACE_MS);
        await this.#send(this.#abort.signal);
        await paced;
      }
    } finally {
      this.#running = false;
    }
  }

  async #send(signal) {
    try {
      const answer = await request(await this.#picture(), signal);
      if (signal.aborted) return;
      await this.#onAnswer(answer, !this.#stale);
      this.#failures = 0;
    } catch (failure) {
      if (signal.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      this.#onFailure(failure.message, failure.temporary ? this.#scheduleRetry(failure.wait) : null);
    }
  }

  #scheduleRetry(wait) {
    const seconds = Math.min(Math.max(wait, 2 ** this.#failures++), MAX_RETRY_S);
    this.#timer = setTimeout(() => this.again(), seconds * 1000);
    return seconds;
  }

  #cancelRetry() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function request(image, abortSignal) {
  const headers = { "content-type": "image/png" };
  const signal = AbortSignal.any([abortSignal, AbortSignal.timeout(TIMEOUT_MS)]);
  return fetchJson("predict?with_input=true", { method: "POST", headers, body: image, signal });
}

// Fetch JSON; throws Failure.
export async function fetchJson(path, options) {
  const [response, body] = await exchange(path, options);
  if (response.ok) return body;
  throw new Failure(body.error ?? `The server answered with status ${response.status}.`, {
    temporary: TEMPORARY.has(response.status),
    wait: Number(response.headers.get("retry-after")) || 0,
  });
}

async function exchange(path, options) {
  try {
    const response = await fetch(path, options);
    const text = await response.text();
    return [response, text.startsWith("{") ? JSON.parse(text) : {}];
  } catch {
    throw new Failure("The server does not answer; is it still running?", { temporary: true });
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
